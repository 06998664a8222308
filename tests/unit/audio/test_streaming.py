"""Long sounds block by block: the same samples and the same frames as in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from shared.audio import decode, streaming
from shared.audio.decode import Samples, decode_mono
from shared.audio.representation import make_representation
from shared.audio.streaming import blocks_of, frame_windows, read_excerpt, resampled, scan, windows
from shared.config import FeatureConfig, SpectrogramConfig
from shared.errors import AudioError

RATE = 16_000
LEVEL_TOLERANCE = 1e-6
"""Divided twice instead of once: the last bits of float32."""
FRAME_TOLERANCE = 1e-4
"""log1p units: sums of a transform that is done with other neighbours are rounded otherwise."""


def noise(samples: int, *, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def in_blocks(samples: Samples, *sizes: int) -> Iterator[Samples]:
    """Blocks of the given sizes in turn, none and single ones among them."""
    position, turn = 0, 0
    while position < len(samples):
        yield samples[position : position + sizes[turn % len(sizes)]]
        position += sizes[turn % len(sizes)]
        turn += 1


@pytest.mark.parametrize("samples", [1, 40, 99, 100, 101, 140, 141, 200, 1_000, 1_039, 1_041])
def test_windows_hand_out_every_sample_once_with_its_surroundings(samples: int):
    sound = np.arange(samples, dtype=np.float32)
    begin = 0
    seen = list(windows(in_blocks(sound, 7, 0, 130, 1), step=100, margin=40))
    for window in seen:
        assert window.skip == min(begin, 40)
        end = begin + window.own
        after = end if window.last else end + 40
        np.testing.assert_array_equal(window.samples, sound[begin - window.skip : after])
        assert window.last or window.own == 100
        begin = end
    assert begin == samples
    assert [window.last for window in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) == 1 or seen[-1].own >= 40


def test_nothing_gives_no_window():
    assert list(windows(iter(()), step=100, margin=40)) == []


@pytest.mark.parametrize("source_rate", [8_000.0, 16_000.0, 44_100.0, 44_100 * 1.15, 96_000.0])
def test_resampling_in_blocks_is_resampling_the_whole(source_rate: float):
    sound = noise(50_001)
    whole = streaming.soxr.resample(sound, source_rate, RATE, quality=decode.RESAMPLER)
    parts = list(resampled(in_blocks(sound, 10_000, 1, 333), source_rate, RATE))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "samples"),
    [(512, 128, 128 * 64), (512, 128, 128 * 64 - 1), (512, 128, 30_001), (512, 300, 30_001), (512, 512, 40_000),
     (512, 128, 300), (512, 128, 200), (1_024, 16, 9_000)],
)  # fmt: skip
def test_frames_of_windows_are_those_of_the_whole(representation: str, n_fft: int, hop_length: int, samples: int):
    spectrogram = SpectrogramConfig(sample_rate=RATE, n_fft=n_fft, hop_length=hop_length, n_mels=32)
    config = FeatureConfig.model_validate(
        {"representation": representation, "spectrogram": spectrogram, "mask_threshold": 0.0}
    )
    transform = make_representation(config)
    sound = 0.1 * noise(samples)
    whole = transform.analyse(torch.from_numpy(sound)[None, None])
    parts = [
        transform.analyse(torch.from_numpy(window.samples)[None, None])[..., own]
        for window, own in frame_windows(in_blocks(sound, 999, 5_000), spectrogram, 8)
    ]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=FRAME_TOLERANCE, rtol=0)
    assert whole.shape[-1] == spectrogram.frames(samples)


@pytest.mark.parametrize("source_rate", [RATE, 22_050])
def test_blocks_and_excerpts_of_a_file_are_those_of_the_decoded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source_rate: int
):
    monkeypatch.setattr(decode, "BLOCK_VALUES", 4_096)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([noise(40_000), noise(40_000, seed=1)], axis=1) * 0.02, source_rate, subtype="FLOAT")
    whole = decode_mono(path, RATE)

    peak, rate = scan(path)
    blocks = np.concatenate(list(blocks_of(path, RATE, scale=peak)))

    assert rate == source_rate
    np.testing.assert_allclose(blocks / np.abs(blocks).max(), whole, atol=LEVEL_TOLERANCE)
    for start, count in ((0, 100), (5_000, 9_000), (len(whole) - 50, 100)):
        excerpt = read_excerpt(path, RATE, start, count)
        np.testing.assert_allclose(excerpt, whole[start : start + count], atol=LEVEL_TOLERANCE)
        assert len(excerpt) == len(whole[start : start + count])


@pytest.mark.parametrize("amplitude", [0.0, 1e-42, 3e38])
def test_every_level_comes_through(tmp_path: Path, amplitude: float):
    path = tmp_path / "a.wav"
    tone = amplitude * np.sin(np.arange(8_000) / 9)
    soundfile.write(path, np.stack([tone, tone], axis=1).astype(np.float32), 44_100, subtype="FLOAT")
    peak, _ = scan(path)
    blocks = np.concatenate(list(blocks_of(path, RATE, scale=peak)))
    assert np.abs(blocks).max() == pytest.approx(1.0 if amplitude else 0.0, abs=0.05)


def test_what_is_wrong_with_a_file_is_said_before_any_work(tmp_path: Path):
    broken = noise(300_000)
    broken[-1] = np.nan
    soundfile.write(tmp_path / "broken.wav", broken, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", noise(100), RATE)
    (tmp_path / "text.wav").write_text("not a sound")
    for name, sentence in (("broken", "not numbers"), ("short", "100 samples"), ("text", "cannot be read")):
        with pytest.raises(AudioError, match=rf"^drums/kick.*{sentence}"):
            scan(tmp_path / f"{name}.wav", name="drums/kick")
