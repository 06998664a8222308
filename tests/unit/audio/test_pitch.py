"""Pitch shifts: another pitch, the same length, the same places, whatever the blocks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from shared.audio import pitch
from shared.audio.decode import Samples
from shared.audio.pitch import shift_pitch, shifted_blocks
from shared.errors import ConfigError

RATE = 16_000

ONSET_TOLERANCE = 0.006
"""Seconds: a shifted attack is spread over a part of the stretcher's block of 0.12 s; without its latency taken off
it would be 0.06 s late."""

PITCH_TOLERANCE = 0.01
"""Share of the frequency: a sixth of a semitone."""

LEAST_LEVEL = 0.25
"""Of a tone within a cross-fade: the phases of the two sides are any."""


def tone(hz: float, *, seconds: float = 1.0, begins_at: float = 0.0) -> Samples:
    time = np.arange(round(seconds * RATE)) / RATE
    return (np.sin(2 * np.pi * hz * time) * (time >= begins_at)).astype(np.float32)


def loudest_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE / len(samples)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 0.5, 4.0, 12.0])
def test_a_shift_changes_pitch_alone(semitones: float):
    shifted = shift_pitch(tone(440.0), RATE, semitones)
    assert shifted.dtype == np.float32
    assert len(shifted) == RATE
    assert np.abs(shifted).max() == pytest.approx(1.0)
    assert loudest_hz(shifted) == pytest.approx(440.0 * 2 ** (semitones / 12), rel=PITCH_TOLERANCE)


@pytest.mark.parametrize("semitones", [-7.0, -3.0, 3.0, 7.0])
def test_a_sound_stays_where_it_was(semitones: float):
    shifted = shift_pitch(tone(660.0, begins_at=0.5), RATE, semitones)
    energy = np.convolve(shifted**2, np.ones(80) / 80, "same")
    onset = np.argmax(energy > 0.25 * energy[RATE * 6 // 10 :].mean()) / RATE
    assert onset == pytest.approx(0.5, abs=ONSET_TOLERANCE)


@pytest.mark.parametrize("samples", [1, 100, 2_048, 5_000])
def test_short_sounds_and_silence_keep_their_length(samples: int):
    assert len(shift_pitch(tone(440.0)[:samples], RATE, 3.0)) == samples
    assert not shift_pitch(np.zeros(samples, np.float32), RATE, 3.0).any()


def test_blocks_make_no_difference_and_neither_does_doing_it_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pitch, "PART_S", 0.5)
    sound = np.random.default_rng(0).normal(size=30_001).astype(np.float32)
    once = np.concatenate(list(shifted_blocks([sound], RATE, 3.0)))
    again = np.concatenate(list(shifted_blocks(np.array_split(sound, 23), RATE, 3.0)))
    assert len(once) == len(sound)
    np.testing.assert_array_equal(again, once)


def test_parts_join_without_gap_or_click(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pitch, "PART_S", 0.5)
    shifted = np.concatenate(list(shifted_blocks([tone(440.0, seconds=3.2)], RATE, 3.0)))[RATE // 5 : -RATE // 5]
    level = np.sqrt(np.convolve(shifted**2, np.ones(160) / 160, "valid") * 2)
    assert level.min() > LEAST_LEVEL
    assert level.max() < 1.5
    assert np.abs(np.diff(shifted)).max() < 1.5 * 2 * np.pi * 440 * 2 ** (3 / 12) / RATE


def test_a_machine_without_the_stretcher_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "python_stretch.Signalsmith", None)
    with pytest.raises(ConfigError, match="leave pitches empty and use speeds"):
        shift_pitch(np.zeros(48_000, dtype=np.float32), 48_000, 2.0)
