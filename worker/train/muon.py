"""Muon: updates along the momentum of a weight matrix, with all of its directions brought to the same length.

    gradient --momentum--> direction [rows, columns] --orthogonalized--> update

A gradient has few strong directions and many weak ones. AdamW, which looks at each number by itself, follows the
strong ones; here the weak ones, which belong to what few sounds have in common, are learned as fast.
Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

MOMENTUM: Final = 0.95
"""Share of the momentum that stays from step to step."""
BLOCK: Final = 64
"""Most rows (or columns, where there are fewer of them) that are made alike together: what it costs grows with them."""
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5 in the polynomial that takes every singular value towards 1 (Jordan et al.)."""
_ITERATIONS: Final = 5
_SMALLEST: Final = 1e-30
"""Squared lengths below this are zero."""


class Muon:
    """Momentum and updates of some weights with two or more dimensions."""

    def __init__(self, weights: Mapping[str, nn.Parameter], weight_decay: float) -> None:
        self._weights = dict(weights)
        self._weight_decay = weight_decay
        self.momentum = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        """By the name of the weight, and in memory as it is."""

    @torch.no_grad()
    def step(self, learning_rate: Tensor, scale: Tensor, bad: Tensor | None) -> None:
        """One update with the gradients of the weights times `scale`, and none where `bad` is true.

        All three are scalars on the weights' device, from which nothing is read back. An update is as long as one of
        AdamW is at the same learning rate: 0.2 * sqrt(max(rows, columns)) times as long as an orthogonal matrix
        (J. Liu et al., "Muon is scalable for LLM training", 2025), so that both can share one.
        """
        share = (1.0 - MOMENTUM) * torch.ones_like(learning_rate)
        if bad is not None:
            share, learning_rate = (torch.where(bad, 0.0, value) for value in (share, learning_rate))
        shrink = 1.0 - learning_rate * self._weight_decay
        for name, weight in self._weights.items():
            if weight.grad is None:
                continue
            matrix, momentum, gradient = (
                _as_matrix(each, weight) for each in (weight, self.momentum[name], weight.grad)
            )
            if bad is not None:
                gradient = torch.where(bad, 0.0, gradient)
            momentum.mul_(1.0 - share).addcmul_(gradient, share * scale)
            # After Nesterov: where the momentum is about to be. How long it is does not matter.
            direction = torch.addcmul(momentum, gradient, scale * ((1.0 - MOMENTUM) / MOMENTUM))
            length = learning_rate * (0.2 * math.sqrt(max(matrix.shape)))
            if matrix.shape[0] > matrix.shape[1]:
                matrix, direction = matrix.T, direction.T
            matrix.mul_(shrink)
            for part, along in zip(matrix.split(BLOCK), direction.split(BLOCK), strict=True):
                part.addmm_(orthogonalizer(along).mul_(-length), along)


def orthogonalizer(matrix: Tensor) -> Tensor:
    """A symmetric factor [rows, rows] which makes the rows of `matrix` [rows, columns], float32, nearly orthonormal.

    The singular values of factor @ matrix lie between 0.7 and 1.2, but for those that were below about a thousandth of
    the whole: these stay shorter. Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X from X = matrix / |matrix|:
    its factors are polynomials of the first XX', so that they are multiplied among themselves, as small as it is.
    """
    a, b, c = _COEFFICIENTS
    gram = matrix @ matrix.T
    square = gram.diagonal().sum().clamp_min(_SMALLEST)
    gram /= square
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    whole = factor / square.sqrt()
    for _ in range(_ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        whole = factor @ whole
    return whole


def _as_matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """`tensor`, which has the shape of `weight`, as a matrix with as many rows, of the same memory where it lies there
    as `weight` does; in which order the columns come makes no difference."""
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        tensor = tensor.movedim(1, -1)
    return tensor.flatten(1)
