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
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5 in the polynomial that takes every singular value towards 1 (Jordan et al.)."""
_ITERATIONS: Final = 5
_SHORTEST: Final = 1e-15
"""Lengths below this are zero."""


class Muon:
    """Momentum and updates of some weights with two or more dimensions."""

    def __init__(self, weights: Mapping[str, nn.Parameter], weight_decay: float) -> None:
        self._weights = dict(weights)
        self._weight_decay = weight_decay
        self.momentum = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        """By the name of the weight, and in memory as it is."""

    @torch.no_grad()
    def step(self, learning_rate: Tensor, scale: Tensor, bad: Tensor) -> None:
        """One update with the gradients of the weights times `scale`, and none where `bad` is true.

        All three are scalars on the weights' device, from which nothing is read back. An update is as long as one of
        AdamW is at the same learning rate: 0.2 * sqrt(max(rows, columns)) times as long as an orthogonal matrix
        (J. Liu et al., "Muon is scalable for LLM training", 2025), so that both can share one.
        """
        kept = (~bad).to(learning_rate.dtype)
        share, rate = (1.0 - MOMENTUM) * kept, learning_rate * kept
        shrink = 1.0 - rate * self._weight_decay
        for name, weight in self._weights.items():
            if weight.grad is None:
                continue
            momentum = self.momentum[name]
            gradient = torch.where(bad, 0.0, weight.grad * scale)
            momentum.lerp_(gradient, share)
            direction = gradient.lerp_(momentum, MOMENTUM)  # after Nesterov: where the momentum is about to be
            spread = direction.movedim(1, -1)  # as it lies in memory where that is channels last
            matrix = spread.flatten(1)
            length = rate * (0.2 * math.sqrt(max(matrix.shape)))
            update = orthogonalized(matrix, length).view(spread.shape).movedim(-1, 1)
            weight.mul_(shrink).sub_(update)


def orthogonalized(matrix: Tensor, length: Tensor | float = 1.0) -> Tensor:
    """`matrix` [rows, columns], float32, with its singular values brought near `length` (0.7 to 1.2 times it).

    Those below about a thousandth of the whole stay shorter. Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X
    from X = matrix / |matrix|: all of its factors are polynomials of the first XX', so that they are multiplied among
    themselves, as small as the shorter side, and the long matrix is met only at the beginning and at the end.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalized(matrix.T, length).T
    a, b, c = _COEFFICIENTS
    norm = torch.linalg.vector_norm(matrix).clamp_min(_SHORTEST)
    gram = (matrix @ matrix.T) / norm.square()
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    whole = (length / norm) * identity
    for iteration in range(_ITERATIONS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c).add_(identity, alpha=a)
        whole = factor @ whole
        if iteration < _ITERATIONS - 1:
            gram = factor @ gram @ factor
    return whole @ matrix
