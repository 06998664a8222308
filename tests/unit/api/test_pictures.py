"""Pictures of sounds show what is in them, and equal steps of level look equal."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from api.datasets.pictures import SPECTROGRAM_SIZE, WAVEFORM_COLUMNS, SoundPictures, lightness, palette
from shared.errors import AudioError

RATE_HZ = 48_000
LOWEST_HZ = 30.0


@pytest.fixture
def pictures() -> Iterator[SoundPictures]:
    pictures = SoundPictures()
    yield pictures
    pictures.close()


def tone(hz: float, *, seconds: float = 1.0, level: float = 1.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def pixels(content: bytes) -> np.ndarray:
    """Levels of a picture, [rows, columns]."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == SPECTROGRAM_SIZE
    packed = content[content.index(b"IDAT") + 4 : content.index(b"IEND") - 8]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width + 1)
    return rows[:, 1:]


def test_a_tone_is_a_line_at_its_frequency_and_level(pictures: SoundPictures, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(RATE_HZ), tone(1_000), tone(8_000, level=0.01)])
    soundfile.write(tmp_path / "tones.wav", sound, RATE_HZ, subtype="PCM_16")
    drawn = pixels(pictures.spectrogram("tones", tmp_path / "tones.wav"))
    width, height = SPECTROGRAM_SIZE
    assert drawn[:, width // 6].max() == 0, "silence is dark"
    for column, hz, decibels in ((width // 2, 1_000, 0), (5 * width // 6, 8_000, -40)):
        row = int(drawn[:, column].argmax())
        shown_hz = LOWEST_HZ * (RATE_HZ / 2 / LOWEST_HZ) ** (1 - row / (height - 1))
        assert shown_hz == pytest.approx(hz, rel=0.06)
        assert drawn[row, column] == pytest.approx(255 * (1 + decibels / 80), abs=20)


def test_a_waveform_is_between_its_lowest_and_highest_samples(pictures: SoundPictures, tmp_path: Path) -> None:
    sound = np.concatenate([tone(100, level=0.8), tone(100, level=0.2)])
    soundfile.write(tmp_path / "fades.wav", np.stack([sound, sound], axis=1), RATE_HZ)
    drawn = pictures.waveform("fades", tmp_path / "fades.wav").decode()
    heights = [1 - float(y) for y in re.findall(r"[0-9]+,([-0-9.]+)", drawn)][:WAVEFORM_COLUMNS]
    assert max(heights[: WAVEFORM_COLUMNS // 2 - 2]) == pytest.approx(0.8, abs=0.02)
    assert max(heights[WAVEFORM_COLUMNS // 2 + 2 :]) == pytest.approx(0.2, abs=0.02)


def test_a_long_sound_is_drawn_from_parts_of_it(pictures: SoundPictures, tmp_path: Path) -> None:
    minutes = 3
    with soundfile.SoundFile(tmp_path / "long.flac", "w", RATE_HZ, 1, "PCM_16") as file:
        for _ in range(minutes * 60 // 2):
            file.write(np.zeros(RATE_HZ))
        for _ in range(minutes * 60 // 2):
            file.write(tone(1_000))
    drawn = pixels(pictures.spectrogram("long", tmp_path / "long.flac"))
    middle = SPECTROGRAM_SIZE[0] // 2
    assert drawn[:, : middle - 1].max() == 0
    assert drawn[:, middle + 1 :].max(axis=0).min() > 240


def test_what_was_drawn_is_kept(pictures: SoundPictures, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(500), RATE_HZ)
    first = pictures.spectrogram("tone", path)
    path.unlink()
    assert pictures.spectrogram("tone", path) == first


def test_what_is_no_sound_is_said_to_be_none(pictures: SoundPictures, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words " * 1_000)
    with pytest.raises(AudioError, match="cannot be drawn"):
        pictures.spectrogram("text", tmp_path / "text.wav")


def test_equal_steps_of_level_look_equal() -> None:
    light = [lightness(shade) for shade in palette()]
    steps = [after - before for before, after in pairwise(light)]
    mean = (light[-1] - light[0]) / len(steps)
    assert mean > 0.3
    # A shade is rounded to whole numbers, which is worth about half a step.
    assert min(steps) > -0.1
    assert max(steps) < 2.5 * mean
