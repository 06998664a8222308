"""What a training will take, told before it is submitted: memory by its model, time by earlier trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.config import ModelConfig, TrainConfig
from shared.jobs import Clip
from shared.planning import LOOKED_AT, STAGES, Plan, feature_bytes, fitted_examples, model_size

_BYTES: Final = 4
_PER_PARAMETER: Final = 8 * _BYTES
"""A weight, its gradient and two moments of AdamW (Muon has one of them); three of them once more while a checkpoint
is written, and what is computed of them in between."""
_PER_PARAMETER_AVERAGED: Final = 2 * _BYTES
"""What an average of the weights takes beside that, and its copy in a checkpoint."""
_PER_CELL: Final = 4 * _BYTES
"""What the backward pass needs of a cell: before and after BatchNorm, after ReLU, and a gradient."""
_BASE_BYTES: Final = 350 << 20
"""What torch takes, with all that it loads for a first step."""
_PER_PARAMETER_TIMED: Final = 8 * _BYTES
"""What more is taken while ways to compute are timed: four models with gradients and moments each, less the above."""


@dataclass(frozen=True, kw_only=True)
class EarlierTraining:
    """How fast a training was."""

    work: float
    """See `work_of`."""
    steps_per_s: float


def memory_bytes(train: TrainConfig, clips: Sequence[Clip], plan: Plan, *, starts_anew: bool = True) -> int:
    """About what a training takes of a device's memory at most; measured on processors, in float32.

    One that does not start anew has its first weights from another job.
    """
    model = train.model()
    size = model_size(model)
    step = _PER_CELL * size.activations * plan.batch_size
    working = step + _PER_PARAMETER_TIMED * size.parameters
    if train.first_weights == "principal" and starts_anew:
        working = max(working, _fitting_bytes(model))
    per_parameter = _PER_PARAMETER + (_PER_PARAMETER_AVERAGED if train.average_steps else 0)
    return _BASE_BYTES + feature_bytes(clips, train.features()) + per_parameter * size.parameters + working


def _fitting_bytes(model: ModelConfig) -> int:
    """What a start with principal components takes: the examples, what is computed of them, and the widest feature maps
    of those that go through the model, once and a half."""
    channels, widest = STAGES[model.representation][:2]
    cells, examples = model.n_mels * model.frames, fitted_examples(model)
    return _BYTES * cells * (2 * examples * channels + 3 * min(examples, LOOKED_AT) // 2 * widest // 4)


def work_of(train: TrainConfig, batch_size: int) -> float:
    """How much a step computes, in cells of feature maps."""
    return float(model_size(train.model()).activations * batch_size)


def seconds(train: TrainConfig, plan: Plan, earlier: EarlierTraining | None) -> float | None:
    """About how long a training computes, as fast as `earlier` for the same work; None without one."""
    if earlier is None:
        return None
    return plan.total_steps * work_of(train, plan.batch_size) / earlier.work / earlier.steps_per_s
