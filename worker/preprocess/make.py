"""Every clip of a dataset version at every speed and pitch, decoded, analysed and kept.

    clip --ClipAnalyser--> rows [T, C * n_mels] of each variant --> FeatureWriter

A few threads work on one short file each, or on one piece each of a long one, and each computes alone, as the one
does that collects: what a file gives does not depend on the others nor on their number, and operations this small
would spend their time waiting for each other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from shared.config import FeatureConfig
from shared.events import Progress
from shared.jobs import Clip, DatasetSnapshot
from shared.storage import Storage
from worker.attempt import Control, Reporter
from worker.preprocess.ahead import WORKERS, in_order
from worker.preprocess.analyse import ClipAnalyser
from worker.preprocess.feature_set import FeatureManifest, FeatureWriter, check_clip_is_there
from worker.scratch import scratch_folder

SMALLEST_SIZE: Final = 1 / 16
"""What the shortest clip counts as, where the longest that is made at once counts as 1: 11 seconds at 48 kHz."""
PROGRESS_EVENTS: Final = 200
"""Most events of progress that a set publishes, however many its files."""


def unique_clips(dataset: DatasetSnapshot) -> list[Clip]:
    """One clip for each content, in the order of their hashes: the same for every dataset of the same content."""
    return [clip for _, clip in sorted({clip.sha256: clip for clip in reversed(dataset.clips)}.items())]


def make_features(
    dataset: DatasetSnapshot, config: FeatureConfig, *, storage: Storage, reporter: Reporter, control: Control
) -> FeatureManifest | None:
    """Make the features and keep them in the store; None when somebody wished to stop meanwhile.

    Nothing is kept of an unfinished set. Raises AudioError naming the clip that cannot be used.
    """
    clips = unique_clips(dataset)
    analyser = ClipAnalyser(config)

    def path_of(clip: Clip) -> Path:
        return check_clip_is_there(storage, clip.sha256, clip.name)

    def analyse_short(clip: Clip) -> Iterable[Iterable[Tensor]] | None:
        return None if analyser.is_long(clip) else analyser.short(path_of(clip), clip.name)

    def size(clip: Clip) -> float:
        return min(max(analyser.size(clip), SMALLEST_SIZE), 1.0)

    with (
        _alone(),
        scratch_folder() as folder,
        ThreadPoolExecutor(
            WORKERS, thread_name_prefix="features", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
    ):
        key = config.cache_key(dataset.version_hash)
        writer = FeatureWriter(storage, key, config, analyser.channels, folder)
        analysed = in_order(pool, clips, analyse_short, size=size)
        for done, clip in enumerate(clips):
            if control.wish() != "none":
                analysed.close()
                return None
            if done * PROGRESS_EVENTS // len(clips) > (done - 1) * PROGRESS_EVENTS // len(clips):
                reporter.publish(Progress(phase="features", done=done, total=len(clips), message=clip.name))
            variants = next(analysed)
            if variants is None:
                variants = analyser.long(path_of(clip), clip.name, spool=folder / "spool", pool=pool)
            frames = _write(writer, variants, control)
            if frames is None:
                analysed.close()
                return None
            writer.end_clip(clip.sha256, frames)
        manifest = writer.finish()
    reporter.publish(Progress(phase="features", done=len(clips), total=len(clips)))
    return manifest


def _write(writer: FeatureWriter, variants: Iterable[Iterable[Tensor]], control: Control) -> list[int] | None:
    """Frames of each of `variants`, whose rows come in parts; None when somebody wished to stop meanwhile."""
    frames: list[int] = []
    for variant in variants:
        frames.append(0)
        for rows in variant:
            if control.wish() != "none":
                return None
            writer.add(rows)
            frames[-1] += len(rows)
            control.beat()
    return frames


@contextmanager
def _alone() -> Generator[None]:
    """One thread for torch, and afterwards as many as before: parts of that number belong to the whole process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
