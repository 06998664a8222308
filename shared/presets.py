"""From what a person asks for, a preset and some changes, to the complete `TrainConfig` that a job keeps for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from shared.config import BETA_KL_WEIGHT, Objective, PresetName, Representation, TrainConfig, config_error

LATENT_DIM: Final[Mapping[Representation, int]] = {"mel": 64, "mel_if": 128}

_DOCUMENTED_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "conservative": {
        "dropout": 0.4,
        "weight_decay": 0.05,
        "expansion": 15,
        "epochs": 100,
        "learning_rate": 5e-4,
        "kl_warmup_fraction": 0.5,
        "grad_clip": 0.5,
    },
    "balanced": {
        "dropout": 0.2,
        "weight_decay": 0.01,
        "expansion": 10,
        "epochs": 200,
        "learning_rate": 1e-3,
        "kl_warmup_fraction": 0.3,
        "grad_clip": 1.0,
    },
    "aggressive": {
        "dropout": 0.1,
        "weight_decay": 0.001,
        "expansion": 5,
        "epochs": 500,
        "learning_rate": 2e-3,
        "kl_warmup_fraction": 0.2,
        "grad_clip": 5.0,
    },
}

_OBJECTIVE_VALUES: Final[Mapping[Objective, Mapping[str, Any]]] = {
    "sigma": {},
    "elbo": {},
    "beta": {"kl_weight": BETA_KL_WEIGHT, "free_bits": 0.1},
    "documented": {},
}
"""What an objective brings along unless it is asked for otherwise."""


def documented_preset_for(file_count: int) -> PresetName:
    """The preset meant for a corpus of that size: under 50, 50 to 199, 200 and more files."""
    if file_count < 50:
        return "conservative"
    return "balanced" if file_count < 200 else "aggressive"


def validation_fraction_for(file_count: int) -> float:
    """Share of files held out: under 10: 0.5; 10-49: 0.3; 50-199: 0.2; 200 and more: 0.1."""
    if file_count < 10:
        return 0.5
    if file_count < 50:
        return 0.3
    return 0.2 if file_count < 200 else 0.1


def preset_values(preset: PresetName, file_count: int) -> dict[str, Any]:
    """The values that `preset` stands for on a corpus of `file_count` files.

    The three documented presets are exact. `auto` takes what measured better on held-out sounds: no dropout, strong
    weight decay, a model that starts as the principal components of its examples, learns by Muon and is judged and
    kept as the average of its last weights, and examples from anywhere in a file, at playback speeds up to an octave
    either way (close to whole semitones, as sounds are tuned: as many in between measured worse), most of them with
    another sound mixed in and another timbre. From 50 files on, three examples in ten are excerpts as they are: without
    them a model hardly meets a sound that nothing was done to. Fewer files are soon known by heart: with such
    examples, or learned fast, they cost more of what the first weights know of other sounds than they give.
    """
    if preset != "auto":
        return {"random_crops": False, "gain_db": 0.0, "shift_s": 0.0, **_DOCUMENTED_PRESETS[preset]}
    return {
        "dropout": 0.0,
        "weight_decay": 0.3,
        "expansion": 5 if file_count >= 200 else 10 if file_count >= 50 else 20,
        "epochs": 100,
        "optimizer": "muon",
        "learning_rate": 1e-3 if file_count < 50 else 2e-3,
        "warmup_fraction": 0.05,
        "kl_warmup_fraction": 0.1,
        "grad_clip": 1.0,
        "first_weights": "principal",
        "keep_statistics": True,
        "average_steps": 50,
        "refine_steps": 20,
        "random_crops": True,
        "augment_probability": 1.0 if file_count < 50 else 0.7,
        "gain_db": 6.0,
        "shift_s": 0.05,
        "speeds": (1.0, 0.5, 0.6, 0.71, 0.79, 0.89, 1.12, 1.26, 1.41, 1.68, 2.0),
        "speed_probability": 0.9,
        "mix_probability": 0.7,
        "mix_db": 15.0,
        "equalizer_probability": 0.7,
        "equalizer_db": 8.0,
    }


def resolve_train_config(
    *,
    file_count: int,
    representation: Representation = "mel",
    preset: PresetName = "auto",
    changes: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Complete configuration for a corpus of `file_count` files.

    Later wins: defaults, the objective's values, the preset's, what the person changed. Raises ConfigError
    naming the first field that cannot work.
    """
    changes = dict(changes or {})
    objective = changes.get("objective", "sigma")
    values: dict[str, Any] = {
        "representation": representation,
        "preset": preset,
        "latent_dim": LATENT_DIM[representation],
        "validation_fraction": validation_fraction_for(file_count),
        **next((brought for name, brought in _OBJECTIVE_VALUES.items() if name == objective), {}),
        **preset_values(preset, file_count),
        **changes,
    }
    if values.get("first_weights") == "random" and "keep_statistics" not in changes:
        values["keep_statistics"] = False
    if "preview_every" not in changes and isinstance(values["epochs"], int) and values["epochs"] < 50:
        values["preview_every"] = 2
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error) from error
