"""The documented numbers of presets, shares and defaults, and what cannot be configured."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.config import (
    MIN_CLIP_SAMPLES,
    FeatureConfig,
    ModelConfig,
    Objective,
    PresetName,
    SpectrogramConfig,
    TrainConfig,
)
from shared.errors import ConfigError
from shared.presets import documented_preset_for, preset_values, resolve_train_config, validation_fraction_for

DOCUMENTED: dict[PresetName, tuple[float, float, int, int, float, float, float]] = {
    "conservative": (0.4, 0.05, 15, 100, 5e-4, 0.5, 0.5),
    "balanced": (0.2, 0.01, 10, 200, 1e-3, 0.3, 1.0),
    "aggressive": (0.1, 0.001, 5, 500, 2e-3, 0.2, 5.0),
}
"""dropout, weight decay, expansion, epochs, learning rate, KL warm-up fraction, gradient clip"""


@pytest.mark.parametrize("preset", DOCUMENTED)
@pytest.mark.parametrize("file_count", [5, 100, 500])
def test_the_documented_presets_are_exact_for_every_corpus(preset: PresetName, file_count: int):
    config = resolve_train_config(file_count=file_count, preset=preset)
    assert (
        config.dropout,
        config.weight_decay,
        config.expansion,
        config.epochs,
        config.learning_rate,
        config.kl_warmup_fraction,
        config.grad_clip,
    ) == DOCUMENTED[preset]
    assert not config.random_crops
    assert (config.gain_db, config.shift_s, config.speeds) == (0.0, 0.0, (1.0,))
    assert (config.mix_probability, config.equalizer_probability, config.noise_probability) == (0.0, 0.0, 0.0)
    assert config.augment_probability == 1.0


@pytest.mark.parametrize(
    ("file_count", "preset"),
    [
        (1, "conservative"),
        (49, "conservative"),
        (50, "balanced"),
        (199, "balanced"),
        (200, "aggressive"),
        (500, "aggressive"),
    ],
)
def test_the_documented_preset_of_a_corpus(file_count: int, preset: PresetName):
    assert documented_preset_for(file_count) == preset


@pytest.mark.parametrize(
    ("file_count", "share"), [(1, 0.5), (9, 0.5), (10, 0.3), (49, 0.3), (50, 0.2), (199, 0.2), (200, 0.1), (500, 0.1)]
)
def test_the_validation_share_of_a_corpus(file_count: int, share: float):
    assert validation_fraction_for(file_count) == share
    assert resolve_train_config(file_count=file_count).validation_fraction == share


@pytest.mark.parametrize(
    ("file_count", "expansion", "rate", "augmented"),
    [
        (5, 20, 1e-3, 1.0),
        (49, 20, 1e-3, 1.0),
        (50, 10, 2e-3, 0.7),
        (199, 10, 2e-3, 0.7),
        (200, 5, 2e-3, 0.7),
        (500, 5, 2e-3, 0.7),
    ],
)
def test_auto_repeats_small_corpora_more_often_and_learns_them_more_gently(
    file_count: int, expansion: int, rate: float, augmented: float
):
    config = resolve_train_config(file_count=file_count)
    assert config.learning_rate == rate
    assert config.preset == "auto"
    assert config.expansion == expansion
    assert (config.dropout, config.random_crops, config.gain_db) == (0.0, True, 6.0)
    assert config.speeds == (1.0, 0.5, 0.6, 0.71, 0.79, 0.89, 1.12, 1.26, 1.41, 1.68, 2.0)
    assert (config.first_weights, config.average_steps, config.optimizer) == ("principal", 50, "muon")
    assert (config.refine_steps, config.speed_probability) == (20, 0.9)
    assert config.augment_probability == augmented


@pytest.mark.parametrize("preset", DOCUMENTED)
def test_the_documented_presets_learn_by_adamw_and_at_their_own_rate_with_muon_too(preset: PresetName):
    config = resolve_train_config(file_count=20, preset=preset)
    assert (config.optimizer, config.refine_steps) == ("adamw", 0)
    muon = resolve_train_config(file_count=20, preset=preset, changes={"optimizer": "muon"})
    assert muon.learning_rate == DOCUMENTED[preset][4]


def test_random_weights_come_without_statistics_to_keep():
    kept, batches = (resolve_train_config(file_count=20, changes=each) for each in ({}, {"first_weights": "random"}))
    assert (kept.keep_statistics, batches.keep_statistics) == (True, False)
    with pytest.raises(ConfigError, match="keep_statistics must be off"):
        resolve_train_config(file_count=20, changes={"first_weights": "random", "keep_statistics": True})


def test_the_defaults_of_a_training():
    config = resolve_train_config(file_count=100)
    assert (config.objective, config.batch_size, config.kl_weight, config.free_bits) == ("sigma", 32, 1.0, 0.5)
    assert (config.chunk_s, config.chunk_samples, config.frames) == (1.0, 48_000, 94)
    assert (config.preview_every, config.checkpoint_every_s, config.mask_threshold) == (5, 60.0, 0.01)


def test_the_defaults_of_a_spectrogram():
    config = SpectrogramConfig()
    assert (config.sample_rate, config.n_fft, config.hop_length, config.n_mels) == (48_000, 2048, 512, 128)
    assert (config.f_min, config.f_max_hz) == (0.0, 24_000.0)
    assert SpectrogramConfig(sample_rate=44_100).f_max_hz == 22_050.0
    assert MIN_CLIP_SAMPLES == 2048


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (511, 1), (512, 2), (47_615, 93), (47_616, 94), (48_000, 94)]
)
def test_frames_are_samples_over_hop_plus_one(samples: int, frames: int):
    assert SpectrogramConfig().frames(samples) == frames


def test_each_representation_has_its_latent_size():
    assert resolve_train_config(file_count=20, representation="mel").latent_dim == 64
    assert resolve_train_config(file_count=20, representation="mel_if").latent_dim == 128


@pytest.mark.parametrize(("epochs", "every"), [(2, 2), (49, 2), (50, 5), (100, 5)])
def test_short_runs_preview_every_second_epoch(epochs: int, every: int):
    assert resolve_train_config(file_count=20, changes={"epochs": epochs}).preview_every == every
    assert resolve_train_config(file_count=20, changes={"epochs": epochs, "preview_every": 7}).preview_every == 7


def test_beta_takes_no_large_weight():
    with pytest.raises(ConfigError, match=r"kl_weight must be at most 0\.01"):
        resolve_train_config(file_count=20, changes={"objective": "beta", "kl_weight": 0.02})


def test_beta_brings_its_small_weight_unless_asked_otherwise():
    config = resolve_train_config(file_count=20, changes={"objective": "beta"})
    assert (config.kl_weight, config.free_bits) == (0.01, 0.1)
    config = resolve_train_config(file_count=20, changes={"objective": "beta", "kl_weight": 0.002})
    assert (config.kl_weight, config.free_bits) == (0.002, 0.1)


def test_auto_is_the_same_for_both_representations_but_for_the_latent_size():
    mel, mel_if = (resolve_train_config(file_count=100, representation=each) for each in ("mel", "mel_if"))
    assert (mel.weight_decay, mel.mix_probability, mel.equalizer_probability) == (0.3, 0.7, 0.7)
    assert mel_if == mel.model_copy(update={"representation": "mel_if", "latent_dim": 128})


@pytest.mark.parametrize("objective", ["sigma", "elbo", "beta", "documented"])
@pytest.mark.parametrize("preset", ["auto", *DOCUMENTED])
def test_objective_and_preset_are_independent(objective: Objective, preset: PresetName):
    config = resolve_train_config(file_count=20, preset=preset, changes={"objective": objective})
    assert (config.objective, config.preset) == (objective, preset)
    assert config.dropout == preset_values(preset, 20)["dropout"]


@pytest.mark.parametrize(
    ("objective", "output", "bound"),
    [("sigma", "linear", 8.0), ("elbo", "linear", 8.0), ("beta", "softplus", 8.0), ("documented", "sigmoid", None)],
)
def test_the_objective_decides_output_and_bound(objective: Objective, output: str, bound: float | None):
    model = resolve_train_config(file_count=20, changes={"objective": objective, "latent_dim": 7}).model()
    assert (model.output, model.logvar_bound, model.latent_dim) == (output, bound, 7)
    assert (model.n_mels, model.frames) == (128, 94)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"dropout": 1.0}, "dropout"),
        ({"speeds": ()}, "speeds"),
        ({"unknown": 1}, "unknown"),
        ({"spectrogram": {"n_mels": 5}}, "spectrogram.n_mels"),
        ({"objective": "guess"}, "objective"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_a_value_that_cannot_work_is_named(changes: dict[str, Any], field: str):
    with pytest.raises(ConfigError) as caught:
        resolve_train_config(file_count=20, changes=changes)
    assert caught.value.field == field
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_s": 0.05, "spectrogram": {"sample_rate": 16_000}}, "chunk_s is too short"),
        ({"speeds": (0.5, 1.0)}, "must start with 1.0"),
        ({"speeds": ()}, "speeds: this needs 1 at least"),
        ({"speeds": (1.0,) * 17}, "speeds: this may have 16 at most"),
        ({"speeds": 1.0}, r"speeds: this must be a list, such as \[1.0, 0.5\]"),
        ({"speeds": (1.0, 1.0)}, "must differ"),
        ({"spectrogram": {"hop_length": 2048, "n_fft": 1024}}, "hop_length must not exceed n_fft"),
        ({"spectrogram": {"f_max": 30_000.0}}, "half the sample rate"),
        ({"spectrogram": {"f_min": 5_000.0, "f_max": 4_000.0}}, "f_min must lie below f_max"),
    ],
)
def test_values_that_contradict_each_other_are_explained(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        resolve_train_config(file_count=20, changes=changes)


def test_values_are_frozen_and_know_no_other_fields():
    with pytest.raises(ValidationError):
        ModelConfig().latent_dim = 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        FeatureConfig.model_validate({"speed": 1.0})


def test_a_configuration_survives_json():
    config = resolve_train_config(file_count=20, representation="mel_if", changes={"speeds": (1.0, 0.5)})
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_the_cache_key_tells_everything_apart_that_changes_features():
    keys = {
        FeatureConfig().cache_key("a"),
        FeatureConfig().cache_key("b"),
        FeatureConfig(representation="mel_if").cache_key("a"),
        FeatureConfig(speeds=(1.0, 0.5)).cache_key("a"),
        FeatureConfig(spectrogram=SpectrogramConfig(n_mels=64)).cache_key("a"),
        FeatureConfig(mask_threshold=0.1).cache_key("a"),
    }
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)
    assert FeatureConfig().cache_key("a") == FeatureConfig().cache_key("a")
