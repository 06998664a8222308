"""The average of a training's last weights: what is judged, heard and kept.

    weights after every AVERAGED_EVERY steps --WeightAverage.follow--> average += share * (weights - average)

At a useful learning rate the weights never rest: they wander around what they have learned, and what they give at any
one step is worse than what their average gives (B. Polyak and A. Juditsky, "Acceleration of stochastic approximation
by averaging", 1992). The cosine calms them, but only at the end; the average is calm all the way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from shared.vae.model import ConvVAE

AVERAGED_EVERY: Final = 8
"""Steps between two looks at the weights: reading all of them on every step would cost up to a tenth of it."""


class WeightAverage:
    """Exponentially weighted average of a model's weights and of BatchNorm's statistics, as a model of its own."""

    def __init__(self, model: ConvVAE, steps: int) -> None:
        """Starts as `model` is now; `steps` is its reach, the time constant of what it forgets."""
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._move = get_ema_multi_avg_fn((1.0 - 1.0 / steps) ** AVERAGED_EVERY)
        self._source = list(_values(model))
        self._average = list(_values(self.model))

    def follow(self, steps: int) -> None:
        """Take the weights into account where `steps`, those done, is a step to look at them."""
        if steps % AVERAGED_EVERY == 0:
            self._move(self._average, self._source, steps)


def _values(model: ConvVAE) -> Iterator[Tensor]:
    """Whatever of a model is no whole number."""
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            yield value.detach()
