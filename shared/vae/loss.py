"""What a training minimises.

With B examples, D cells in each (channels x mels x frames), E the error of the reconstruction and KL the
divergence of the posterior from the standard normal prior in nats per example:

| objective    | minimised                                                  | free bits             |
|--------------|------------------------------------------------------------|-----------------------|
| `sigma`      | 0.5 ln E + w KL / D                                        | on the batch mean     |
| `elbo`       | 0.5 E + w KL / D                                           | on the batch mean     |
| `documented` | MSE + w KL                                                 | on every example      |
| `beta`       | the same with a small w (at most 0.01) and free bits of 0.1 | on every example      |

`sigma` is the evidence lower bound per cell under a Gaussian decoder whose variance is at its optimum, the mean
squared error itself, up to a constant (O. Rybkin, K. Daniilidis, S. Levine, "Simple and effective VAE training
with calibrated decoders", ICML 2021); `elbo` is the same bound with the variance fixed at 1. Free bits: D. Kingma
et al., "Improved variational inference with inverse autoregressive flow", 2016.

For `mel` E is the mean squared error (MSE). `mel_if` has two errors: the MSE of the magnitudes, and the squared
error of the frequencies averaged with the true magnitudes as weights, since the frequency of silence means
nothing. Each channel has half of the cells, so that `sigma` takes the mean of the two logarithms and `elbo` the
mean of the two errors; the documented forms add the frequency error to the plain MSE. `frequency_weight`
multiplies the frequency term everywhere.

Single cells forgive a sound whose level is a little wrong everywhere more than they should. With a
`spectral_weight` above 0 the magnitudes (channel 0) are compared at coarser resolutions too: E_2, E_4 and E_8 are
their mean squared errors after average pooling by 2 x 2, 4 x 4 and 8 x 8 cells, and the magnitudes' term f(E_1), f
being 0.5 ln, 0.5 or 1 as above, becomes

    f(E_1) + spectral_weight (f(E_2) + f(E_4) + f(E_8)) / 3.

Everything here stays on the device: no value is read back, so that a step never waits for its own loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from shared.config import TrainConfig

ObjectiveFunction = Callable[[Tensor, Tensor, Tensor, Tensor, float | Tensor], tuple[Tensor, Tensor, Tensor]]
"""(reconstruction, target, mu, logvar, kl_weight) -> (total, reconstruction MSE, KL), scalars, float32.

reconstruction and target are scaled features [B, C, M, T]; mu and logvar [B, latent_dim]. The second value is
always the plain MSE over all channels in that scaled space, so that it can be compared between objectives; the
third is the KL term as it is minimised, free bits included.
"""

RESOLUTIONS: Final = 3
"""Coarser resolutions of `spectral_weight`: 2, 4 and 8 cells."""

SMALLEST_ERROR: Final = 1e-6
"""Added under the logarithm of `sigma`: a reconstruction of silence can be perfect."""


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of each posterior from the prior, [B, latent_dim] in nats: -0.5 (1 + logvar - mu^2 - exp(logvar))."""
    mu, logvar = mu.float(), logvar.float()
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())


def compute_kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Raw KL, a scalar in nats: summed over dimensions, averaged over the batch. Near 0: the latent collapsed."""
    return kl_per_dimension(mu, logvar).sum(dim=1).mean()


def vae_loss(  # noqa: PLR0917  # the documented signature
    recon: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, kl_weight: float | Tensor = 1.0, free_bits: float = 0.5
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, recon, kl) of the documented objective: total = MSE + kl_weight * kl.

    kl is clamped from below at `free_bits` nats for each dimension of each example, summed over dimensions and
    averaged over the batch.
    """
    error = functional.mse_loss(recon.float(), target.float())
    kl = kl_per_dimension(mu, logvar).clamp_min(free_bits).sum(dim=1).mean()
    return error + kl_weight * kl, error, kl


def get_kl_weight(epoch: int, total_epochs: int, warmup_fraction: float = 0.3) -> float:
    """Share of the KL weight in `epoch` (from 0): min(1, epoch / int(total_epochs * warmup_fraction)).

    1 where the warm-up has no whole epoch.
    """
    warmup = int(total_epochs * warmup_fraction)
    return min(1.0, epoch / warmup) if warmup > 0 else 1.0


def frequency_error(recon: Tensor, target: Tensor) -> Tensor:
    """Squared error of channel 1 of [B, 2, M, T], averaged with the target's channel 0 (>= 0) as weights."""
    recon, target = recon.float(), target.float()
    weight = target[:, 0]
    squared = (recon[:, 1] - target[:, 1]).square()
    return (weight * squared).sum() / weight.sum().clamp_min(SMALLEST_ERROR)


def coarser_errors(recon: Tensor, target: Tensor) -> list[Tensor]:
    """Mean squared errors of channel 0 of [B, C, M, T] at each of the RESOLUTIONS coarser ones.

    Each halves the one before it; an edge that is no whole window counts as the average of the cells that it has.
    """
    difference = recon[:, :1].float() - target[:, :1].float()
    errors: list[Tensor] = []
    for _ in range(RESOLUTIONS):
        difference = functional.avg_pool2d(difference, 2, ceil_mode=True)
        errors.append(difference.square().mean())
    return errors


def make_objective(train: TrainConfig) -> ObjectiveFunction:
    """The loss that `train` asks for; the caller gives the KL weight of the epoch (`get_kl_weight` x `kl_weight`)."""
    two_channels = train.representation == "mel_if"
    free_bits, frequency_weight, spectral_weight = train.free_bits, train.frequency_weight, train.spectral_weight

    def coarser(recon: Tensor, target: Tensor, per_cell: Callable[[Tensor], Tensor]) -> Tensor:
        return spectral_weight * torch.stack([per_cell(error) for error in coarser_errors(recon, target)]).mean()

    def documented(
        recon: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, kl_weight: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        total, error, kl = vae_loss(recon, target, mu, logvar, kl_weight, free_bits)
        if two_channels:
            total = total + frequency_weight * frequency_error(recon, target)
        if spectral_weight:
            total = total + coarser(recon, target, _whole)
        return total, error, kl

    def calibrated(
        recon: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, kl_weight: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        recon, target = recon.float(), target.float()
        error = functional.mse_loss(recon, target)
        kl = kl_per_dimension(mu, logvar).mean(dim=0).clamp_min(free_bits).sum()
        per_cell = _half_log if train.objective == "sigma" else _half
        fit = per_cell(functional.mse_loss(recon[:, :1], target[:, :1]) if two_channels else error)
        if spectral_weight:
            fit = fit + coarser(recon, target, per_cell)
        if two_channels:
            fit = 0.5 * (fit + frequency_weight * per_cell(frequency_error(recon, target)))
        return fit + kl_weight * kl / target[0].numel(), error, kl

    return calibrated if train.objective in ("sigma", "elbo") else documented


def _half_log(error: Tensor) -> Tensor:
    return 0.5 * torch.log(error + SMALLEST_ERROR)


def _whole(error: Tensor) -> Tensor:
    return error


def _half(error: Tensor) -> Tensor:
    return 0.5 * error
