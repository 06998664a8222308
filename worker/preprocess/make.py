"""Every clip of a dataset version at every speed, decoded, analysed and kept.

    clip --decode_mono--> waveform [S] --analyse--> features [C, n_mels, T] --> FeatureWriter

A few threads work on one file each, and each computes alone: what a file gives does not depend on the others nor
on their number, and operations this small would spend their time waiting for each other.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from shared.audio.decode import decode_mono
from shared.audio.representation import RepresentationTransform, make_representation
from shared.config import FeatureConfig
from shared.errors import AudioError
from shared.events import Progress
from shared.jobs import Clip, DatasetSnapshot
from shared.storage import Storage
from worker.attempt import Control, Reporter
from worker.preprocess.feature_set import FeatureManifest, FeatureWriter, check_clip_is_there

FILES_AT_ONCE: Final = min(4, os.cpu_count() or 1)
"""Files that are worked on at the same time; each takes memory for its spectrum."""


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
    representation = make_representation(config)
    with (
        _restored_threads(),
        tempfile.TemporaryDirectory(prefix="spectrain-features-") as folder,
        ThreadPoolExecutor(
            FILES_AT_ONCE, thread_name_prefix="features", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
    ):
        writer = FeatureWriter(
            storage, config.cache_key(dataset.version_hash), config, representation.channels, Path(folder)
        )
        analysed = _ahead(pool, clips, lambda clip: _analyse(storage, clip, config, representation))
        for done, clip in enumerate(clips):
            if control.wish() != "none":
                analysed.close()
                return None
            reporter.publish(Progress(phase="features", done=done, total=len(clips), message=clip.name))
            writer.add(clip.sha256, next(analysed))
            control.beat()
        manifest = writer.finish()
    reporter.publish(Progress(phase="features", done=len(clips), total=len(clips)))
    return manifest


@contextmanager
def _restored_threads() -> Generator[None, None, None]:
    """Parts of torch's number of threads belong to the process, though a pool's thread sets them."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _analyse(
    storage: Storage, clip: Clip, config: FeatureConfig, representation: RepresentationTransform
) -> list[Tensor]:
    """Features [C, n_mels, T] of the clip at each speed."""
    path = check_clip_is_there(storage, clip.sha256, clip.name)
    features: list[Tensor] = []
    try:
        for speed in config.speeds:
            waveform = torch.from_numpy(decode_mono(path, config.spectrogram.sample_rate, speed=speed))
            with torch.inference_mode():
                features.append(representation.analyse(waveform[None, None])[0])
    except AudioError as error:
        # The store knows the file by its hash, the person by its name.
        raise AudioError(str(error).replace(path.name, clip.name), file_name=clip.name) from error
    return features


def _ahead(
    pool: ThreadPoolExecutor, clips: list[Clip], work: Callable[[Clip], list[Tensor]]
) -> Generator[list[Tensor], None, None]:
    """Results of `work` in order, at most FILES_AT_ONCE of them ahead of the one that is asked for."""
    waiting: deque[Future[list[Tensor]]] = deque()
    try:
        for clip in clips:
            waiting.append(pool.submit(work, clip))
            if len(waiting) > FILES_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
