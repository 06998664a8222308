"""The tensors that a model file has to hold are those that the model has."""

from __future__ import annotations

import pytest

from shared.config import ModelConfig
from shared.model_file import model_tensors
from shared.vae.model import ConvVAE

TYPES = {"torch.float32": "F32", "torch.int64": "I64"}


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(representation="mel_if", latent_dim=128),
        ModelConfig(n_mels=33, frames=17, latent_dim=3, dropout=0.2),
        ModelConfig(representation="mel_if", n_mels=16, frames=1, latent_dim=1),
    ],
    ids=lambda config: f"{config.representation} {config.n_mels} x {config.frames}",
)
def test_they_are_those_of_the_model(config: ModelConfig) -> None:
    state = ConvVAE(config).state_dict()
    assert model_tensors(config) == {
        name: (TYPES[str(tensor.dtype)], tuple(tensor.shape)) for name, tensor in state.items()
    }
