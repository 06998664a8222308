"""Sounds higher or lower at their own length, by Signalsmith Stretch.

    blocks  --windows-->  10 s with margins  --Stretch-->  shifted, margins cut off  --cross-fade-->  blocks

The stretcher takes a whole sound at a time and puts it where it was, its latency taken off. It holds Python's
interpreter lock meanwhile, so that long sounds are given to it in parts, for a heartbeat to come between. Each part
begins with phases of its own: neighbours are cross-faded, at equal power since they do not go together.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from shared.audio.decode import Samples, to_full_scale
from shared.audio.streaming import Window, windows
from shared.errors import ConfigError

PART_S: Final = 10.0
"""Length of a part: a tenth of a second of work."""
FADE_S: Final = 0.02
SEED: Final = 0
"""Of the phases that the stretcher makes up where an octave or more opens gaps."""


def shift_pitch(waveform: Samples, sample_rate: int, semitones: float) -> Samples:
    """`waveform` [S] `semitones` higher, peak-normalised to 0 dBFS, [S] float32."""
    shifted = np.concatenate(list(shifted_blocks([waveform], sample_rate, semitones)))
    return to_full_scale(shifted)


def shifted_blocks(blocks: Iterable[Samples], sample_rate: int, semitones: float) -> Iterator[Samples]:
    """The sound in `blocks` `semitones` higher, as many samples in other blocks, whatever the blocks were."""
    stretch = _make_stretch()
    stretch.preset(1, sample_rate)
    stretch.setTransposeSemitones(semitones)
    fade = round(FADE_S * sample_rate)
    margin = stretch.blockSamples() + fade
    angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    fade_in, fade_out = np.sin(angle), np.cos(angle)
    ending: Samples | None = None
    for window in windows(blocks, step=round(PART_S * sample_rate), margin=margin):
        shifted, own = _shift(stretch, window, margin)
        if ending is not None:
            yield ending * fade_out + shifted[own - fade : own] * fade_in
        end = own + window.own - (0 if window.last else fade)
        yield shifted[own:end]
        ending = shifted[end : end + fade]


def _make_stretch() -> Any:
    try:
        module = importlib.import_module("python_stretch.Signalsmith")
    except ImportError as error:
        raise ConfigError(
            "pitches: this machine has no python-stretch to shift pitches with (there is no build for Linux on arm64):"
            " leave pitches empty and use speeds, or run the job on another machine.",
            field="pitches",
        ) from error
    return module.Stretch(SEED)


def _shift(stretch: Any, window: Window, margin: int) -> tuple[Samples, int]:
    """The window's samples shifted, with silence around the sound's ends, and where its own begin."""
    padded = np.pad(window.samples, (margin - window.skip, margin if window.last else 0))
    stretch.reset()
    return np.asarray(stretch.process(padded[None]))[0], margin
