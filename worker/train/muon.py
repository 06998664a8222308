"""Muon: updates along the momentum of a weight matrix, orthogonalized block of rows by block of rows.

    gradient --momentum--> direction [rows, columns] --orthogonalizer of each block--> update

A gradient has few strong directions and many weak ones. AdamW, which looks at each number by itself, follows the
strong ones; here the weak ones, which belong to what few sounds have in common, are learned as fast.
Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.

How large an update is follows from what the matrix is for: what comes of a layer changes by about as much, for inputs
of the usual size, whatever their numbers are. That is a spectral norm in proportion to sqrt(outputs / inputs) (G. Yang,
J. Simon, J. Bernstein, "A spectral condition for feature learning", 2023). A latent of 64 numbers comes of innermost
maps of 12,288: by updates as large as a kernel's the encoder lost within a hundred steps what it began with (measured).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

MOMENTUM: Final = 0.95
"""Decay of the momentum, a step."""
BLOCK: Final = 64
"""Most rows (or columns, where there are fewer of them) that are orthogonalized together: the cost grows with them, and
blocks of so many learn as well as whole matrices (measured)."""
NORM: Final = 10.0
"""Spectral norm of a block's update by the learning rate, where there are as many inputs as outputs: with it, weights
that AdamW updates can share the learning rate (measured). That of several blocks together is larger, up to the root of
their number where their gradients are alike."""
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5 in the polynomial that takes every singular value towards 1 (Jordan et al.)."""
_ITERATIONS: Final = 5
_SMALLEST: Final = 1e-30
"""Least squared norm that is divided by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InnerWeight:
    """The weight of a layer inside a model."""

    weight: Tensor
    """[rows, …], one matrix when all that follows is laid side by side."""
    inputs: float
    """Products that are summed up for a number that comes out, on average."""
    outputs: int
    """Features or channels that come out."""


class Muon:
    """Momentum and updates of some weights with two or more dimensions."""

    def __init__(self, weights: Mapping[str, InnerWeight], weight_decay: float) -> None:
        self._weights = dict(weights)
        self._weight_decay = weight_decay
        self.momentum = {name: torch.zeros_like(inner.weight) for name, inner in weights.items()}
        """By the name of the weight, and in memory as it is."""

    @torch.no_grad()
    def step(self, learning_rate: Tensor, scale: Tensor, bad: Tensor | None) -> None:
        """One update with the gradients of the weights times `scale`, and none where `bad` is true.

        All three are scalars on the weights' device, from which nothing is read back; None for `bad` is false.
        """
        fresh = (1.0 - MOMENTUM) * torch.ones_like(learning_rate)
        if bad is not None:
            # The scale of a bad step may be no number either.
            fresh, learning_rate, scale = (torch.where(bad, 0.0, each) for each in (fresh, learning_rate, scale))
        shrink = 1.0 - learning_rate * self._weight_decay
        for name, inner in self._weights.items():
            weight = inner.weight
            if weight.grad is None:
                continue
            rows = len(weight)
            matrix, momentum = (_in_order(each, weight).view(rows, -1) for each in (weight, self.momentum[name]))
            gradient = _in_order(weight.grad, weight).reshape(rows, -1)
            if bad is not None:
                gradient = torch.where(bad, 0.0, gradient)
            momentum.mul_(1.0 - fresh).addcmul_(gradient, fresh * scale)
            # After Nesterov: where the momentum is about to be. Its norm does not matter.
            direction = torch.addcmul(momentum, gradient, scale * ((1.0 - MOMENTUM) / MOMENTUM))
            size = learning_rate * (NORM * math.sqrt(inner.outputs / inner.inputs))
            if matrix.shape[0] > matrix.shape[1]:
                matrix, direction = matrix.T, direction.T
            matrix.mul_(shrink)
            blocks = -(-len(matrix) // BLOCK)
            for part, along in zip(matrix.tensor_split(blocks), direction.tensor_split(blocks), strict=True):
                part.sub_(orthogonalizer(along).mul_(size) @ along)


def orthogonalizer(matrix: Tensor) -> Tensor:
    """A symmetric factor [rows, rows] which makes the rows of `matrix` [rows, columns], float32, nearly orthonormal.

    The singular values of factor @ matrix lie between 0.68 and 1.21, but for those below 0.0015 of the matrix's norm:
    they stay smaller. Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X from X = matrix / |matrix|:
    its factors are polynomials of the first XX', so that they are multiplied among themselves, as small as it is.
    """
    gram = matrix @ matrix.T
    square = gram.diagonal().sum().clamp_min(_SMALLEST)
    gram /= square
    factor = _polynomial(gram)
    whole = factor / square.sqrt()
    for _ in range(_ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        whole = factor @ whole
    return whole


def _polynomial(gram: Tensor) -> Tensor:
    """a + b gram + c gram^2."""
    a, b, c = _COEFFICIENTS
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor


def _in_order(tensor: Tensor, weight: Tensor) -> Tensor:
    """`tensor`, which has the shape of `weight`, with its dimensions in the order in which `weight` lies in memory.

    The first one stays the first: of the matrix that follows only the order of columns differs, which does not matter.
    """
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        tensor = tensor.movedim(1, -1)
    return tensor
