"""Reading, mixing, resampling, normalising and writing of sound files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from shared.audio import decode
from shared.audio.decode import Samples, decode_mono, write_wav_16
from shared.config import MIN_CLIP_SAMPLES
from shared.errors import AudioError

RATE = 48_000

PEAK_TOLERANCE = 1e-6
"""float32 division leaves the last bit of the peak open."""

RESAMPLED_TOLERANCE = 2e-3
"""A sine against its resampled self, away from the edges: the filter's ripple and the peak between two samples."""

PCM_TOLERANCE = 0.5 / 32_767 + 1e-6
"""Half a step of 16 bits."""


def sine(hz: float, *, rate: int = RATE, seconds: float = 0.5, amplitude: float = 0.5) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def wav(folder: Path, samples: Samples, *, rate: int = RATE, subtype: str = "FLOAT", name: str = "a.wav") -> Path:
    soundfile.write(folder / name, samples, rate, subtype=subtype, format="WAV")
    return folder / name


def loudest_hz(samples: Samples, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def test_a_sound_at_the_wanted_rate_is_only_normalised(tmp_path: Path):
    tone = sine(440.0)
    decoded = decode_mono(wav(tmp_path, tone), RATE)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, tone / np.abs(tone).max(), atol=PEAK_TOLERANCE)


def test_channels_are_averaged(tmp_path: Path):
    tone = sine(440.0)
    other = sine(1_000.0, amplitude=0.3)
    decoded = decode_mono(wav(tmp_path, np.stack([tone, other], axis=1)), RATE)
    mean = (tone + other) / 2
    np.testing.assert_allclose(decoded, mean / np.abs(mean).max(), atol=PEAK_TOLERANCE)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_a_file_of_many_blocks_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int):
    noise = np.random.default_rng(0).normal(size=(20_001, channels)).astype(np.float32)
    path = wav(tmp_path, noise)
    monkeypatch.setattr(decode, "BLOCK_VALUES", 999)
    mean = noise.mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(decode_mono(path, RATE), mean / np.abs(mean).max(), atol=PEAK_TOLERANCE)


def test_a_constant_offset_stays(tmp_path: Path):
    decoded = decode_mono(wav(tmp_path, 0.25 + sine(440.0, amplitude=0.25)), RATE)
    assert decoded.mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000, 192_000])
def test_other_rates_are_resampled_to_the_same_tone(tmp_path: Path, rate: int):
    decoded = decode_mono(wav(tmp_path, sine(440.0, rate=rate), rate=rate), RATE)
    assert len(decoded) == RATE // 2
    inner = slice(RATE // 10, -RATE // 10)
    # An edge may ring above the tone's own amplitude, so that normalising leaves the tone a little below 1.
    reference = sine(440.0, amplitude=float(np.abs(decoded[inner]).max()))
    np.testing.assert_allclose(decoded[inner], reference[inner], atol=RESAMPLED_TOLERANCE)


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.15, 2.0])
def test_speed_changes_length_and_pitch(tmp_path: Path, speed: float):
    decoded = decode_mono(wav(tmp_path, sine(1_000.0)), RATE, speed=speed)
    assert len(decoded) == pytest.approx(RATE / 2 / speed, abs=1)
    assert loudest_hz(decoded) == pytest.approx(1_000 * speed, abs=RATE / len(decoded))
    assert np.abs(decoded).max() == pytest.approx(1.0, abs=PEAK_TOLERANCE)


def test_silence_stays_silence(tmp_path: Path):
    decoded = decode_mono(wav(tmp_path, np.zeros(10_000, np.float32), rate=44_100), RATE)
    assert not decoded.any()


@pytest.mark.parametrize("amplitude", [1e-42, 1e-6, 3e38])
def test_every_level_is_brought_to_full_scale(tmp_path: Path, amplitude: float):
    decoded = decode_mono(wav(tmp_path, np.stack([sine(440.0, amplitude=amplitude)] * 2, axis=1)), RATE)
    assert np.abs(decoded).max() == pytest.approx(1.0, abs=PEAK_TOLERANCE)


@pytest.mark.parametrize("container", ["flac", "ogg", "aiff", "mp3"])
def test_other_formats_are_read(tmp_path: Path, container: str):
    path = tmp_path / f"a.{container}"
    soundfile.write(path, sine(440.0), RATE)
    assert loudest_hz(decode_mono(path, RATE)) == pytest.approx(440.0, abs=4.0)


def test_the_shortest_sound_passes_and_one_sample_less_is_refused(tmp_path: Path):
    assert len(decode_mono(wav(tmp_path, sine(440.0)[:MIN_CLIP_SAMPLES]), RATE)) == MIN_CLIP_SAMPLES == 2048
    with pytest.raises(AudioError, match=r"short\.wav has 2047 samples, at least 2048 are needed") as caught:
        decode_mono(wav(tmp_path, sine(440.0)[: MIN_CLIP_SAMPLES - 1], name="short.wav"), RATE)
    assert caught.value.file_name == "short.wav"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused(tmp_path: Path, bad: float):
    samples = sine(440.0)
    samples[100] = bad
    for channels in (samples, np.stack([samples, -samples], axis=1)):
        with pytest.raises(AudioError, match="not numbers"):
            decode_mono(wav(tmp_path, channels), RATE)


def test_an_error_uses_the_name_that_the_person_gave(tmp_path: Path):
    with pytest.raises(AudioError, match=r"^drums/kick\.wav has 100 samples") as caught:
        decode_mono(wav(tmp_path, sine(440.0)[:100], name="0123abcd"), RATE, name="drums/kick.wav")
    assert caught.value.file_name == "drums/kick.wav"


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path):
    text = tmp_path / "notes.wav"
    text.write_text("not a sound")
    empty = tmp_path / "empty.flac"
    empty.touch()
    for path in (text, empty, tmp_path / "missing.wav", tmp_path):
        with pytest.raises(AudioError, match="cannot be read as sound"):
            decode_mono(path, RATE)


def test_speed_must_be_positive(tmp_path: Path):
    with pytest.raises(ValueError, match="speed"):
        decode_mono(wav(tmp_path, sine(440.0)), RATE, speed=0.0)


def test_a_wav_is_written_in_16_bits_and_clipped(tmp_path: Path):
    samples = np.array([0.0, 0.25, -1.0, 1.0, 7.0, -7.0, np.nan, np.inf], np.float32)
    path = tmp_path / "out.wav"
    write_wav_16(path, samples, RATE)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype, info.format) == (RATE, 1, "PCM_16", "WAV")
    read, _ = soundfile.read(path, dtype="int16")
    expected = np.array([0.0, 0.25, -1.0, 1.0, 1.0, -1.0, 0.0, 1.0])
    np.testing.assert_allclose(read / 32_767, expected, atol=PCM_TOLERANCE)


def test_a_wav_can_go_into_a_buffer(tmp_path: Path):
    buffer = io.BytesIO()
    write_wav_16(buffer, sine(440.0), RATE)
    path = tmp_path / "copy.wav"
    path.write_bytes(buffer.getvalue())
    assert len(decode_mono(path, RATE)) == RATE // 2
