"""Convolutional variational autoencoder of spectrograms (D. Kingma and M. Welling, 2013).

    features [B, C, M, T]  --pad-->  [B, C, M', T']  --ConvEncoder-->  mu, logvar [B, latent_dim]
                                                                              | reparameterize
    reconstruction [B, C, M, T]  <--crop--  [B, C, M', T']  <--ConvDecoder--  z [B, latent_dim]

M mel bands and T frames are padded on both sides to multiples of 16 (`mel`: four stages) or 32 (`mel_if`: five
stages), since each stage halves them; the way back crops what was padded. The layers in the middle are built
from the configured M and T, so that weights load without a dummy forward. The halving convolution is 3 x 3,
stride 2, padding 1; its transposed counterpart has output padding 1, which makes it double exactly.

At 128 x 94 the `mel` model has 3,148,545 parameters and the `mel_if` model 17,276,034.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.config import ModelConfig
from shared.planning import STAGES
from shared.vae.convolution import DoublingConv, HalvingConv

_NEAR_ONE: Final = 0.95
"""Outputs of Tanh and Sigmoid beyond this are hardly reached by a linear layer."""
_NEAR_ZERO: Final = 0.2
"""The same for Softplus: a linear layer that aims at its far negative end misses the rest (measured)."""


class ConvEncoder(nn.Module):
    """Padded features [B, C, M', T'] to mu and raw logvar, each [B, latent_dim]."""

    def __init__(self, channels: tuple[int, ...], inner_cells: int, latent_dim: int, dropout: float) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for narrow, wide in pairwise(channels):
            blocks += [
                HalvingConv(narrow, wide),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.Dropout2d(dropout),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.to_mu = nn.Linear(channels[-1] * inner_cells, latent_dim)
        self.to_logvar = nn.Linear(channels[-1] * inner_cells, latent_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar, logvar not yet bounded."""
        flat = self.blocks(features).flatten(1)
        return self.to_mu(flat), self.to_logvar(flat)


class ConvDecoder(nn.Module):
    """Latents [B, latent_dim] to padded raw outputs [B, C, M', T'], before the output activation."""

    def __init__(self, channels: tuple[int, ...], inner_shape: tuple[int, int], latent_dim: int) -> None:
        super().__init__()
        self.inner_shape = (channels[-1], *inner_shape)
        self.from_latent = nn.Linear(latent_dim, channels[-1] * inner_shape[0] * inner_shape[1])
        reverse = channels[::-1]
        blocks: list[nn.Module] = []
        for wide, narrow in pairwise(reverse[:-1]):
            blocks += [DoublingConv(wide, narrow), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks, DoublingConv(reverse[-2], reverse[-1]))

    def forward(self, z: Tensor) -> Tensor:
        """Raw outputs of any sign."""
        return self.blocks(self.from_latent(z).unflatten(1, self.inner_shape))


class ConvVAE(nn.Module):
    """The whole model for one configuration; its outputs are float32, also under autocast."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels = STAGES[config.representation]
        multiple = 2 ** (len(channels) - 1)
        self.shape = (config.n_mels, config.frames)
        self.padded_shape = _round_up(config.n_mels, multiple), _round_up(config.frames, multiple)
        inner = self.padded_shape[0] // multiple, self.padded_shape[1] // multiple
        self.encoder = ConvEncoder(channels, inner[0] * inner[1], config.latent_dim, config.dropout)
        self.decoder = ConvDecoder(channels, inner, config.latent_dim)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar [B, latent_dim], float32, of scaled features [B, C, n_mels, frames].

        logvar lies in (-logvar_bound, logvar_bound) where a bound is configured. Raises ValueError for features
        of another shape.
        """
        if tuple(features.shape[1:]) != (STAGES[self.config.representation][0], *self.shape):
            raise ValueError(
                f"this model takes [batch, {STAGES[self.config.representation][0]}, {self.shape[0]}, {self.shape[1]}]"
                f" features, not {list(features.shape)}"
            )
        mu, logvar = self.encoder(self.padded(features))
        mu, logvar = mu.float(), logvar.float()
        bound = self.config.logvar_bound
        if bound is not None:
            logvar = bound * torch.tanh(logvar / bound)
        return mu, logvar

    def padded(self, features: Tensor) -> Tensor:
        """Features [B, C, n_mels, frames] with zeros on all sides, [B, C, *padded_shape]."""
        top, left = _before(self.padded_shape[0], self.shape[0]), _before(self.padded_shape[1], self.shape[1])
        bottom = self.padded_shape[0] - self.shape[0] - top
        right = self.padded_shape[1] - self.shape[1] - left
        return functional.pad(features, (left, right, top, bottom))

    def reparameterize(self, mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw z [B, latent_dim] from the posterior: mu + exp(logvar / 2) * noise."""
        return mu + torch.exp(0.5 * logvar) * _noise(mu.shape, mu.device, generator).to(mu.dtype)

    def decode(self, z: Tensor, target_shape: tuple[int, ...] | torch.Size | None = None) -> Tensor:
        """Scaled features [B, C, M, T], float32, of latents [B, latent_dim].

        (M, T) are the last two numbers of `target_shape`, at most the padded shape; without it the configured
        shape. Raises ValueError for a larger target.
        """
        mels, frames = self.shape if target_shape is None else target_shape[-2:]
        top, left = _before(self.padded_shape[0], mels), _before(self.padded_shape[1], frames)
        if top < 0 or left < 0:
            raise ValueError(f"this model decodes at most {self.padded_shape} cells, not {(mels, frames)}")
        raw = self.decoder(z)[..., top : top + mels, left : left + frames].float()
        return self._activate(raw)

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(reconstruction, mu, logvar) of scaled features [B, C, n_mels, frames].

        The latent is drawn from the posterior while training and is its mean in evaluation mode.
        """
        mu, logvar = self.encode(features)
        z = self.reparameterize(mu, logvar, generator) if self.training else mu
        return self.decode(z), mu, logvar

    def sample(
        self, n: int, device: torch.device | str | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Scaled features [n, C, n_mels, frames] of `n` latents drawn from the prior, on `device`.

        `device` is the model's own (its default).
        """
        where = next(self.parameters()).device if device is None else torch.device(device)
        return self.decode(_noise(torch.Size((n, self.config.latent_dim)), where, generator))

    def deactivate(self, features: Tensor) -> Tensor:
        """What the decoder's last layer has to give for scaled features [B, C, M, T], any shape kept.

        Values that the activation reaches only at infinity, or hardly, are limited to what it reaches well.
        """
        if self.config.representation == "mel_if":
            frequency = torch.atanh(features[:, 1:].clamp(-_NEAR_ONE, _NEAR_ONE))
            return torch.cat([_inverse_softplus(features[:, :1]), frequency], dim=1)
        if self.config.output == "sigmoid":
            return torch.logit(features, eps=1 - _NEAR_ONE)
        return _inverse_softplus(features) if self.config.output == "softplus" else features

    def _activate(self, raw: Tensor) -> Tensor:
        if self.config.representation == "mel_if":
            return torch.cat([functional.softplus(raw[:, :1]), torch.tanh(raw[:, 1:])], dim=1)
        if self.config.output == "sigmoid":
            return torch.sigmoid(raw)
        return functional.softplus(raw) if self.config.output == "softplus" else raw


def _inverse_softplus(values: Tensor) -> Tensor:
    values = values.clamp_min(_NEAR_ZERO)
    return values + torch.log(-torch.expm1(-values))


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _before(padded: int, length: int) -> int:
    """Cells in front of the content when `length` cells stand in the middle of `padded`."""
    return (padded - length) // 2


def _noise(shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers, drawn where the generator lives and moved to `device`."""
    source = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=source).to(device)
