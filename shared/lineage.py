"""Whether a training can start from the weights of another one.

Weights fit where the model has the same shape and sees sounds in the same way. All else may differ: dataset,
augmentation, dropout, learning rate, weights of the loss. Nothing here needs torch: the api asks at submission, the
trainer again when it has read the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.config import FeatureConfig, ModelConfig, TrainConfig


def incompatibility(before: TrainConfig, now: TrainConfig) -> str | None:
    """One sentence naming the first setting that keeps weights of `before` out of `now`; None where they fit."""
    return weights_incompatibility(before.model(), before.features(), now)


def weights_incompatibility(model: ModelConfig, features: FeatureConfig, now: TrainConfig) -> str | None:
    """The same for weights of a `model` that saw `features`."""
    for name, before, wanted in _pairs(model, features, now):
        if before != wanted:
            return f"The weights were trained with {name} {_said(before)}, and this training says {_said(wanted)}."
    return None


def _pairs(model: ModelConfig, features: FeatureConfig, now: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """(name as a person sets it, what the weights have, what the training wants), what explains most first."""
    wanted, wanted_features = now.model(), now.features()
    yield "representation", model.representation, wanted.representation
    spectrogram = wanted_features.spectrogram.model_dump()
    # An edge that is left open and the same one spelt out are one filterbank.
    for name, value in features.spectrogram.model_dump().items():
        if name != "f_max":
            yield f"spectrogram.{name}", value, spectrogram[name]
    yield "spectrogram.f_max", features.spectrogram.f_max_hz, wanted_features.spectrogram.f_max_hz
    if model.representation == "mel_if":
        yield "mask_threshold", features.mask_threshold, wanted_features.mask_threshold
    yield "latent_dim", model.latent_dim, wanted.latent_dim
    yield "chunks in frames (chunk_s)", model.frames, wanted.frames
    yield "decoder output (objective)", model.output, wanted.output
    yield "bound of logvar (objective)", model.logvar_bound, wanted.logvar_bound


def _said(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
