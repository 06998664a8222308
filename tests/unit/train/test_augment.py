"""Noise mixed into features against noise mixed into the sound."""

from __future__ import annotations

import pytest
import torch

from shared.audio.representation import make_representation
from shared.config import FeatureConfig, Representation, SpectrogramConfig
from worker.train.augment import NOISE_RANGE_DB, WhiteNoise, noise_rms

SPECTROGRAM = SpectrogramConfig(sample_rate=16_000, n_fft=512, hop_length=512, n_mels=24)
"""Frames side by side: as good as independent, as the cells are that are drawn."""
SAMPLES = 512 * 2000
CPU = torch.device("cpu")

MEAN_TOLERANCE = 0.04
"""In log1p units: a mean of 2,000 frames whose logarithms spread by up to 1.3, and an approximated gamma."""
MIXED_TOLERANCE = {"mel": 0.08, "mel_if": 0.2}
"""The same beside a tone. `mel_if` takes a band's bins to hold sound and noise in equal shares, and a tone's do not."""
SPREAD_TOLERANCE = 0.15
"""Share of the standard deviation: the same."""
SHARE_TOLERANCE = 0.03
"""Mean frequency deviations, which lie in [-1, 1]."""


def features_of(representation: Representation, waveform: torch.Tensor) -> torch.Tensor:
    """[1, C, M, T] without the edges' frames."""
    config = FeatureConfig(representation=representation, spectrogram=SPECTROGRAM, mask_threshold=0.0)
    return make_representation(config).analyse(waveform[None, None])[..., 2:-2]


def mixed(representation: Representation, features: torch.Tensor, rms: float) -> torch.Tensor:
    """The same with noise."""
    config = FeatureConfig(representation=representation, spectrogram=SPECTROGRAM, mask_threshold=0.0)
    return WhiteNoise(config, CPU).mix(features, torch.tensor([rms]), torch.Generator().manual_seed(1))


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
@pytest.mark.parametrize("rms", [0.001, 0.1])
def test_noise_alone_has_the_level_and_the_spread_of_analysed_noise(representation: Representation, rms: float):
    generator = torch.Generator().manual_seed(0)
    expected = features_of(representation, rms * torch.randn(SAMPLES, generator=generator))[0, 0]
    drawn = mixed(representation, torch.zeros(1, 2 if representation == "mel_if" else 1, *expected.shape), rms)[0, 0]
    inside = slice(1, -1)  # the first and the last bin hold real numbers, which vary more
    torch.testing.assert_close(drawn.mean(1)[inside], expected.mean(1)[inside], atol=MEAN_TOLERANCE, rtol=0)
    torch.testing.assert_close(drawn.std(1)[inside], expected.std(1)[inside], atol=0.01, rtol=SPREAD_TOLERANCE)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
@pytest.mark.parametrize("rms", [0.003, 0.03])
def test_a_tone_in_noise_has_the_mean_features_of_both(representation: Representation, rms: float):
    generator = torch.Generator().manual_seed(0)
    tone = 0.05 * torch.sin(2 * torch.pi * 1_234.5 / 16_000 * torch.arange(SAMPLES))
    expected = features_of(representation, tone + rms * torch.randn(SAMPLES, generator=generator))
    drawn = mixed(representation, features_of(representation, tone), rms)
    means = [each[0, 0].mean(1)[1:-1] for each in (drawn, expected)]
    torch.testing.assert_close(*means, atol=MIXED_TOLERANCE[representation], rtol=0)


def test_noise_hides_the_frequency_of_what_is_quieter_than_itself():
    features = torch.zeros(1, 2, 24, 4000)
    features[:, 0], features[:, 1] = 5.0, 0.5
    assert float(mixed("mel_if", features, 1e-5)[:, 1].mean()) == pytest.approx(0.5, abs=SHARE_TOLERANCE)
    assert float(mixed("mel_if", features, 10.0)[:, 1].mean()) == pytest.approx(0.0, abs=SHARE_TOLERANCE)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_without_any_level_nothing_but_rounding_changes(representation: Representation):
    features = torch.rand(1, 2 if representation == "mel_if" else 1, 24, 9)
    torch.testing.assert_close(mixed(representation, features, 0.0), features)


def test_levels_lie_evenly_in_decibels_below_the_loudest():
    rms = noise_rms(-40.0, torch.tensor([0.0, 0.5, 1.0]))
    decibels = 20 * torch.log10(rms)
    torch.testing.assert_close(decibels, torch.tensor([-40 - NOISE_RANGE_DB, -40 - NOISE_RANGE_DB / 2, -40.0]))
