"""What a model has to beat: the mean, and a linear projection with as many dimensions (principal components)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from tests.benchmarks.training import Training

CROPS: Final = 8192
"""Examples that are looked at: more make no difference any more, and they take 400 MB."""
_OVERSAMPLING: Final = 32
_ITERATIONS: Final = 6


@dataclass(frozen=True)
class Projection:
    """x -> mean + components^T components (x - mean)."""

    mean: Tensor
    """[cells]"""
    components: Tensor
    """[dimensions, cells], orthonormal; none for the mean predictor"""

    def error(self, chunks: Tensor) -> float:
        """Mean squared error of the reconstruction of chunks [N, C, M, T]."""
        centred = chunks.flatten(1) - self.mean
        rest = centred - (centred @ self.components.T) @ self.components
        return float(rest.square().mean())


def fit_projection(crops: Tensor, dimensions: int) -> Projection:
    """The first principal components of crops [N, C, M, T], by randomised subspace iteration (Halko et al., 2011)."""
    cells = crops.flatten(1)
    mean = cells.mean(dim=0)
    if dimensions == 0:
        return Projection(mean, torch.zeros(0, cells.shape[1]))
    torch.manual_seed(0)
    wanted = min(dimensions + _OVERSAMPLING, *cells.shape)
    _, _, components = torch.svd_lowrank(cells - mean, q=wanted, niter=_ITERATIONS)
    return Projection(mean, components.T[:dimensions].contiguous())


def training_crops(training: Training, *, augmented: bool = True, count: int = CROPS) -> Tensor:
    """`count` of the examples that the training learns from, in log1p units: as it sees them, or only cut out."""
    data = training.data if augmented else training.data_with(augment_probability=0.0)
    taken: list[Tensor] = []
    missing, epoch = count, 0
    while missing:
        examples = data.epoch(training.grid, epoch)
        taken.append(data.unscaled_batch(examples, 0, min(len(examples.base), missing)))
        missing -= len(taken[-1])
        epoch += 1
    return torch.cat(taken)


def fixed_chunks(training: Training, files: list[str]) -> Tensor:
    """All chunks of `files` as they are, in log1p units."""
    grid = training.data.grid(files)
    return training.data.unscaled_batch(training.data.fixed(grid), 0, len(grid))
