"""Which trainings may start from whose weights."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config import SpectrogramConfig, TrainConfig
from shared.lineage import incompatibility


def test_everything_but_shape_and_features_may_differ():
    before = TrainConfig(speeds=(1.0, 0.5), learning_rate=1e-2)
    now = TrainConfig(objective="elbo", dropout=0.3, pitches=(2.0,), epochs=7, batch_size=4, seed=9, gain_db=0.0)
    assert incompatibility(before, now) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"representation": "mel_if"}, "representation mel, and this training says mel_if."),
        ({"latent_dim": 32}, "latent_dim 64, and this training says 32."),
        ({"chunk_s": 2.0}, "chunks in frames (chunk_s) 94, and this training says 188."),
        (
            {"objective": "beta", "kl_weight": 0.01},
            "decoder output (objective) linear, and this training says softplus.",
        ),
        ({"spectrogram": SpectrogramConfig(n_mels=64)}, "spectrogram.n_mels 128, and this training says 64."),
        ({"spectrogram": SpectrogramConfig(f_max=8000)}, "spectrogram.f_max 24000, and this training says 8000."),
    ],
)
def test_the_first_difference_is_named(changes: dict[str, Any], sentence: str):
    difference = incompatibility(TrainConfig(), TrainConfig(**changes))
    assert difference is not None
    assert difference.endswith(f"with {sentence}")


def test_the_mask_counts_where_there_is_a_frequency_channel():
    loose, strict = {"mask_threshold": 0.001}, {"mask_threshold": 0.1}
    assert incompatibility(TrainConfig(**loose), TrainConfig(**strict)) is None
    difference = incompatibility(
        TrainConfig(representation="mel_if", **loose), TrainConfig(representation="mel_if", **strict)
    )
    assert difference is not None
    assert "mask_threshold 0.001" in difference


def test_an_edge_left_open_is_half_the_sample_rate():
    spelt_out = TrainConfig(spectrogram=SpectrogramConfig(f_max=24_000))
    assert incompatibility(TrainConfig(), spelt_out) is None
