"""Sounds that are longer than memory should hold: the same steps as for a whole one, block by block.

    blocks  --resampled-->  blocks  --windows-->  overlapping windows  --analysis-->  frames

A window carries as much sound around its own part as the frames at its edges reach into, so that they are the frames
of the whole sound; only at the sound's own ends is there nothing to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from shared.audio.decode import RESAMPLER, Samples, check_length, open_mono, peak_of
from shared.config import SpectrogramConfig

FRAMES_BEYOND: Final = 2
"""Frames around a window's own that are computed too, beside those whose windows reach beyond its ends: one that
phases are compared with, and one to spare."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a sound with what is around it."""

    samples: Samples
    """[S]: what comes before, its own, what comes after."""
    skip: int
    """Samples before its own: 0 at the sound's beginning, the margin elsewhere."""
    own: int
    last: bool
    """Its own samples go to the sound's end."""


def scan(path: Path, *, name: str = "") -> tuple[float, int]:
    """Peak of the channels' mean and the sound's own rate in Hz; the file's errors come up here, before any work."""
    with open_mono(path, name=name) as sound:
        peak, num_samples = 0.0, 0
        for block in sound.blocks:
            peak, num_samples = max(peak, peak_of(block)), num_samples + len(block)
    check_length(num_samples, name or path.name)
    return peak, sound.sample_rate


def blocks_of(path: Path, sample_rate: int, *, scale: float, speed: float = 1.0, name: str = "") -> Iterator[Samples]:
    """What `decode_mono` gives, in blocks, at a level of its own: the file's, divided by `scale` and resampled."""
    with open_mono(path, name=name) as sound:
        divided = (block / np.float32(scale) for block in sound.blocks) if scale > 0 else sound.blocks
        yield from resampled(divided, sound.sample_rate * speed, sample_rate)


def resampled(blocks: Iterable[Samples], source_rate: float, sample_rate: float) -> Iterator[Samples]:
    """The sound in `blocks` at another rate: sample for sample what resampling the whole gives."""
    if source_rate == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality=RESAMPLER)
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def windows(blocks: Iterable[Samples], *, step: int, margin: int) -> Iterator[Window]:
    """Windows of `step` samples with `margin` more on either side, one after the other; 0 < margin <= step.

    The last one takes what is left: between `margin` and `step + margin` samples of its own, or a whole short sound.
    """
    held, skip = np.empty(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= skip + step + margin:
            yield Window(samples=held[: skip + step + margin], skip=skip, own=step, last=False)
            held, skip = held[skip + step - margin :], margin
    if len(held):
        yield Window(samples=held, skip=skip, own=len(held) - skip, last=True)


def frame_windows(blocks: Iterable[Samples], config: SpectrogramConfig, frames: int) -> Iterator[tuple[Window, slice]]:
    """Windows of at least `frames` frames each, and which frames of a window's analysis are its own.

    Put together these are the S // hop_length + 1 centred frames of the whole sound.
    """
    beyond = -(-config.n_fft // config.hop_length) + FRAMES_BEYOND
    frames = max(frames, beyond)
    for window in windows(blocks, step=frames * config.hop_length, margin=beyond * config.hop_length):
        first = window.skip // config.hop_length
        yield window, slice(first, None if window.last else first + frames)


def read_excerpt(path: Path, sample_rate: int, start: int, num_samples: int, *, name: str = "") -> Samples:
    """decode_mono(path, sample_rate)[start : start + num_samples], without holding the rest of the sound."""
    source_peak, _ = scan(path, name=name)
    taken: list[Samples] = []
    position, peak = 0, 0.0
    for block in blocks_of(path, sample_rate, scale=source_peak, name=name):
        peak = max(peak, peak_of(block))
        taken.append(block[max(0, start - position) : max(0, start + num_samples - position)])
        position += len(block)
    excerpt = np.concatenate([np.empty(0, np.float32), *taken])
    return excerpt / np.float32(peak) if peak > 0 else excerpt
