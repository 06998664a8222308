"""What a training will take, told before it is submitted: memory by its model, time by earlier trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.config import TrainConfig
from shared.planning import Plan, model_size

_BYTES: Final = 4
_PER_PARAMETER: Final = 4 * _BYTES
"""A weight, its gradient and two moments of the optimizer."""
_PER_CELL: Final = 4 * _BYTES
"""What the backward pass needs of a cell: before and after BatchNorm, after ReLU, and a gradient."""
_BASE_BYTES: Final = 500 << 20
"""What torch takes before there is a model."""


@dataclass(frozen=True, kw_only=True)
class EarlierTraining:
    """How fast a training was."""

    work: float
    """See `work_of`."""
    steps_per_s: float


def memory_bytes(train: TrainConfig, plan: Plan) -> int:
    """About what a training takes of a device's memory."""
    size = model_size(train.model())
    return _BASE_BYTES + _PER_PARAMETER * size.parameters + _PER_CELL * size.activations * plan.batch_size


def work_of(train: TrainConfig, batch_size: int) -> float:
    """How much a step computes, in cells of feature maps."""
    return float(model_size(train.model()).activations * batch_size)


def seconds(train: TrainConfig, plan: Plan, earlier: EarlierTraining | None) -> float | None:
    """About how long a training computes, as fast as `earlier` for the same work; None without one."""
    if earlier is None:
        return None
    return plan.total_steps * work_of(train, plan.batch_size) / earlier.work / earlier.steps_per_s
