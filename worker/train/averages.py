"""The average of a training's last weights: what is judged, heard and kept.

    weights after a step --WeightAverage.follow--> average += share * (weights - average)

At a useful learning rate the weights never rest: they wander around what they have learned, and their average is better
than what they are at any one step (B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging",
1992). The cosine calms them, but only at the end; the average is calm all the way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from shared.vae.model import ConvVAE

LOOKS_EVERY: Final = 8
"""Most steps between two looks at the weights: reading all of them on every step would cost up to a tenth of it."""


class WeightAverage:
    """Exponentially weighted average of a model's weights and of BatchNorm's statistics, as a model of its own."""

    def __init__(self, model: ConvVAE, reach: int, *, steps: int = 0) -> None:
        """An average over about `reach` steps of `model`, which has done `steps` and is the average of them so far."""
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._source = list(_values(model))
        self._average = list(_values(self.model))
        self._reach = reach
        self._steps = steps

    def follow(self) -> None:
        """Look at the weights after a step, where it is one to look at; the copies of a snapshot must be whole.

        There are no more steps to average over than were done: the first weights do not linger.
        """
        self._steps += 1
        since = min(LOOKS_EVERY, self._reach) if self._steps > LOOKS_EVERY else 1
        if self._steps % since == 0:
            kept = (1.0 - 1.0 / min(self._reach, self._steps)) ** since
            get_ema_multi_avg_fn(kept)(self._average, self._source, self._steps)


def _values(model: ConvVAE) -> Iterator[Tensor]:
    """Whatever of a model is no whole number."""
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            yield value.detach()
