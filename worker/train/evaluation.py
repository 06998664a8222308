"""How good the model is on fixed chunks: evaluation mode, the mean of the posterior, no augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from shared.vae.loss import kl_per_dimension
from shared.vae.scaling import FeatureScaling
from worker.train.data import ChunkGrid, TrainingData
from worker.train.learner import Learner

BATCH: Final = 64


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over chunks."""

    loss: float
    """The objective, at the epoch's KL weight."""
    reconstruction: float
    """Squared error of log-mel (channel 0) in log1p units, whatever the scaling: comparable between runs."""
    kl: float
    """The objective's KL term."""
    kl_per_dimension: list[float]
    """Raw KL of each latent dimension in nats."""


def evaluate(
    learner: Learner,
    data: TrainingData,
    grid: ChunkGrid,
    scaling: FeatureScaling,
    *,
    kl_weight: float,
    go_on: Callable[[], bool],
) -> Evaluation | None:
    """Judge the model on the chunks of `grid`; None when `go_on`, asked before each batch, says no.

    The objective is a mean over batches, weighted by their chunks. Draws no random number.
    """
    excerpts = data.fixed(grid)
    means: list[Tensor] = []
    dimensions: list[Tensor] = []
    counts: list[int] = []
    model = learner.result.eval()
    with torch.no_grad():
        for first in range(0, len(grid), BATCH):
            if not go_on():
                return None
            end = min(first + BATCH, len(grid))
            batch = data.batch(excerpts, first, end, learner.memory_format)
            with learner.precision():
                reconstruction, mu, logvar = model(batch)
            loss, _, kl = learner.objective(reconstruction, batch, mu, logvar, kl_weight)
            difference = scaling.invert(reconstruction)[:, 0] - scaling.invert(batch)[:, 0]
            means.append(torch.stack([loss, difference.square().mean(), kl]))
            dimensions.append(kl_per_dimension(mu, logvar).mean(dim=0))
            counts.append(end - first)
    weights = torch.tensor(counts, dtype=torch.float64) / len(grid)
    loss, error, kl = (weights @ torch.stack(means).cpu().double()).tolist()
    per_dimension = (weights @ torch.stack(dimensions).cpu().double()).tolist()
    return Evaluation(loss=loss, reconstruction=error, kl=kl, kl_per_dimension=per_dimension)
