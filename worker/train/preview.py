"""Sounds made from the current model: a few fixed clips as it reconstructs them, a few fixed latents as it decodes
them.

    chunk --find_latents--> latent --decode--> features --synthesise--> jobs/<id>/previews/<name>/*.wav
            (training thread)                             (own thread)

Clips and random latents are the same in every preview of a job, so that progress can be heard. The model's part draws
no random number of the training and gives way to a stop; phase recovery never holds up a step.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import torch
from torch import Tensor

from shared.audio.decode import Samples, write_wav_16
from shared.audio.representation import RepresentationTransform
from shared.audio.streaming import read_excerpt
from shared.config import TrainConfig
from shared.events import PreviewClip, PreviewMade
from shared.jobs import Clip
from shared.planning import seeded_number
from shared.storage import Storage
from shared.vae.scaling import FeatureScaling
from worker.attempt import Reporter
from worker.preprocess.feature_set import check_clip_is_there
from worker.train.data import ChunkGrid, TrainingData
from worker.train.learner import Learner
from worker.train.warnings import Warnings

LOUDEST: Final = 0.99
"""Peak of a file whose sound would be clipped otherwise."""


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """The model's part of a preview, in the host's memory."""

    name: str
    epoch: int
    step: int
    features: Tensor
    """[clips + samples, C, M, T] in log1p units."""
    began_at: float
    """time.monotonic()"""


@dataclass(frozen=True, kw_only=True)
class PreviewSource:
    """What a job's previews are made from, chosen once."""

    clips: tuple[Clip, ...]
    """Held-out files first: their reconstruction tells most."""
    starts: tuple[int, ...]
    """First frame of each clip's loudest chunk."""
    latents: Tensor
    """[samples, latent_dim] from the prior."""
    batch: Tensor
    """[clips, C, M, T], scaled, on the device."""


def choose_source(
    config: TrainConfig,
    data: TrainingData,
    clips: Sequence[Clip],
    memory_format: torch.memory_format,
    device: torch.device,
) -> PreviewSource:
    """`clips` in the order of preference; the first `preview_clips` of them are followed."""
    chosen = tuple(clips[: config.preview_clips])
    starts = tuple(data.loudest_chunk(clip.sha256) for clip in chosen)
    grids = [data.grid([clip.sha256]) for clip in chosen]
    grid = ChunkGrid(clip=torch.cat([each.clip[:1] for each in grids]), start=torch.tensor(starts))
    generator = torch.Generator().manual_seed(seeded_number("preview", config.seed))
    return PreviewSource(
        clips=chosen,
        starts=starts,
        latents=torch.randn(config.preview_clips, config.latent_dim, generator=generator).to(device),
        batch=data.batch(data.fixed(grid), 0, len(grid), memory_format),
    )


def compute_features(
    learner: Learner, source: PreviewSource, scaling: FeatureScaling, *, go_on: Callable[[], bool]
) -> Tensor | None:
    """Reconstructions, then samples, [clips + samples, C, M, T] in log1p units, on the CPU.

    None when `go_on`, asked often, says no.
    """
    with torch.no_grad(), learner.precision():
        latents = learner.find_latents(source.batch, go_on=go_on)
        if latents is None:
            return None
        features = learner.result.decode(torch.cat([latents, source.latents]))
    return scaling.invert(features).cpu()


class _AbandonedError(Exception):
    """Nobody waits for the preview any more."""


class PreviewMaker:
    """Makes files of previews on a thread of its own. To be entered before use.

    When previews are asked for faster than they can be made, the newest one wins. Leaving it finishes what waits
    unless `abandon` was called.
    """

    def __init__(
        self,
        storage: Storage,
        job_id: int,
        config: TrainConfig,
        *,
        representation: RepresentationTransform,
        source: PreviewSource,
        reporter: Reporter,
        warnings: Warnings,
    ) -> None:
        self._storage = storage
        self._folder = f"jobs/{job_id}/previews"
        self._config = config
        self._representation = representation
        self._source = source
        self._reporter = reporter
        self._warnings = warnings
        self._originals: list[bytes] = []
        self._made: set[str] = set()
        self._waiting: PreviewRequest | None = None
        self._closing = False
        self._abandoned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._make_all, name="previews", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abandon()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def submit(self, request: PreviewRequest) -> None:
        """Make files of `request`, which takes the place of one that waits."""
        with self._changed:
            self._waiting = request
            self._changed.notify_all()

    def abandon(self) -> None:
        """Forget what waits, and stop what is being made at its next sound."""
        with self._changed:
            self._waiting = None
            self._abandoned = True

    def _make_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                request, self._waiting = self._waiting, None
            if request is None:
                return
            if request.name in self._made:
                continue  # asked for at the very step of a regular one: it would sound the same
            try:
                self._make(request)
                self._made.add(request.name)
            except _AbandonedError:
                self._storage.delete(f"{self._folder}/{request.name}")
            except Exception as error:
                # Whatever it was, a preview is not worth the training.
                self._warnings.warn("disk", f"The preview of step {request.step} was not made: {error}")

    def _make(self, request: PreviewRequest) -> None:
        """Write all files, then tell of them."""
        seconds = self._config.chunk_samples / self._config.spectrogram.sample_rate
        clips: list[PreviewClip] = []
        for number, original in enumerate(self._read_originals(), start=1):
            audio, kept = f"reconstruction-{number}.wav", f"original-{number}.wav"
            self._storage.write(f"{self._folder}/{request.name}/{kept}", original)
            self._storage.write(f"{self._folder}/{request.name}/{audio}", self._sound(request.features[number - 1]))
            title = self._source.clips[number - 1].name
            clips.append(
                PreviewClip(kind="reconstruction", title=title, audio=audio, original=kept, duration_s=seconds)
            )
        for number, features in enumerate(request.features[len(clips) :], start=1):
            audio = f"sample-{number}.wav"
            self._storage.write(f"{self._folder}/{request.name}/{audio}", self._sound(features))
            clips.append(PreviewClip(kind="sample", title=f"Random sample {number}", audio=audio, duration_s=seconds))
        self._reporter.publish(
            PreviewMade(
                name=request.name,
                epoch=request.epoch,
                step=request.step,
                clips=clips,
                seconds=time.monotonic() - request.began_at,
            )
        )

    def _sound(self, features: Tensor) -> bytes:
        """A 16-bit WAV of features [C, M, T]."""
        if self._abandoned:
            raise _AbandonedError
        with torch.inference_mode():
            waveform = self._representation.synthesise(features[None], self._config.chunk_samples)
        return wav_bytes(waveform[0, 0].numpy(), self._config.spectrogram.sample_rate)

    def _read_originals(self) -> list[bytes]:
        """The chunks as they were recorded, read once."""
        if not self._originals:
            rate, hop = self._config.spectrogram.sample_rate, self._config.spectrogram.hop_length
            for clip, start in zip(self._source.clips, self._source.starts, strict=True):
                path: Path = check_clip_is_there(self._storage, clip.sha256, clip.name)
                chunk = torch.zeros(self._config.chunk_samples)
                sound = torch.from_numpy(read_excerpt(path, rate, start * hop, len(chunk), name=clip.name))
                chunk[: len(sound)] = sound
                self._originals.append(wav_bytes(chunk.numpy(), rate))
        return self._originals


def wav_bytes(waveform: Samples, sample_rate: int) -> bytes:
    """16-bit WAV of `waveform` [S], made quieter where it would be clipped."""
    peak = float(abs(waveform).max(initial=0.0))
    buffer = io.BytesIO()
    write_wav_16(buffer, waveform * (LOUDEST / peak) if peak > LOUDEST else waveform, sample_rate)
    return buffer.getvalue()
