"""What the model sees of the features, and the way back."""

from __future__ import annotations

import json

import pytest
import torch

from shared.config import Objective
from shared.vae.scaling import FeatureScaling

TOLERANCE = 1e-5
"""One subtraction and one division in float32 and back, on values up to 12."""


def corpus(channels: int = 1) -> list[torch.Tensor]:
    """Three files [C, 16, T] of different lengths, values from 0 to 9."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(channels, 16, frames, generator=generator) * 9 for frames in (3, 20, 11)]


@pytest.mark.parametrize("objective", ["sigma", "elbo"])
def test_mel_is_standardised_for_a_linear_output(objective: Objective):
    files = corpus()
    scaling = FeatureScaling.fit(files, representation="mel", objective=objective)
    scaled = torch.cat([scaling.apply(each).flatten() for each in files])
    assert scaled.mean().item() == pytest.approx(0.0, abs=TOLERANCE)
    assert scaled.var(correction=0).item() == pytest.approx(1.0, abs=TOLERANCE)


def test_magnitudes_are_scaled_but_never_shifted():
    files = corpus(channels=2)
    scaling = FeatureScaling.fit(files, representation="mel_if")
    assert scaling.mean == (0.0, 0.0)
    assert scaling.scale[1] == 1.0
    scaled = torch.cat([scaling.apply(each)[0].flatten() for each in files])
    assert (scaled >= 0).all()
    assert scaled.square().mean().item() == pytest.approx(1.0, abs=TOLERANCE)
    torch.testing.assert_close(scaling.apply(files[0])[1], files[0][1])


@pytest.mark.parametrize("objective", ["documented", "beta"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_documented_objectives_take_features_as_they_are(objective: Objective, channels: int):
    files = corpus(channels)
    representation = "mel" if channels == 1 else "mel_if"
    scaling = FeatureScaling.fit(files, representation=representation, objective=objective)
    assert scaling == FeatureScaling.identity(channels)
    assert torch.equal(scaling.apply(files[0]), files[0])


@pytest.mark.parametrize("channels", [1, 2])
def test_invert_undoes_apply_with_and_without_a_batch(channels: int):
    files = corpus(channels)
    scaling = FeatureScaling.fit(files, representation="mel" if channels == 1 else "mel_if")
    for features in (files[1], files[1][None].repeat(3, 1, 1, 1)):
        torch.testing.assert_close(scaling.invert(scaling.apply(features)), features, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_constant_corpus_is_not_blown_up(value: float, channels: int):
    files = [torch.full((channels, 16, 5), value)]
    scaling = FeatureScaling.fit(files, representation="mel" if channels == 1 else "mel_if")
    assert torch.isfinite(scaling.apply(files[0])).all()
    assert scaling.apply(files[0]).abs().max() <= 2.5


def test_it_survives_json():
    scaling = FeatureScaling.fit(corpus())
    assert FeatureScaling.from_json(json.loads(json.dumps(scaling.to_json()))) == scaling


def test_a_scaling_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="positive"):
        FeatureScaling(mean=(0.0,), scale=(0.0,))
    with pytest.raises(ValueError, match="each channel"):
        FeatureScaling(mean=(0.0, 0.0), scale=(1.0,))
    with pytest.raises(ValueError, match="no features"):
        FeatureScaling.fit([])
