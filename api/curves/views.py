"""What the HTTP API answers about the curves of a training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.config import Frozen
from shared.events import EpochMetrics, Number


class CurveView(Frozen):
    """One metric, with a value for each bucket; null where there is none."""

    last: list[Number]
    """Of its last step; null where any of its steps had no finite value: a gap."""
    min: list[Number]
    """Lowest finite value; empty where a bucket is one step."""
    max: list[Number]
    """Highest finite value; empty where a bucket is one step."""


class HistoryView(Frozen):
    """The step metrics of a job in buckets, and its epochs."""

    stride: int
    """Steps that a bucket stands for: bucket k holds the steps k * stride + 1 … (k + 1) * stride."""
    step: list[int]
    """Last step in each bucket."""
    epoch: list[int]
    """Epoch of that step."""
    at: list[float]
    """When it was recorded."""
    loss: CurveView
    reconstruction: CurveView
    kl: CurveView
    kl_weight: CurveView
    learning_rate: CurveView
    grad_norm: CurveView
    step_time_s: CurveView
    epochs: list[EpochMetrics]
    """Every epoch that counts, by rising number; the KL of each dimension is with the newest one alone."""
    newest_step: int
    """The newest step of the whole job."""
    last: int
    """Number of the newest event that is in it: what comes after it follows on."""


class HistoryQuery(Frozen):
    """Which part of the history, and how finely."""

    first: Annotated[int, Field(ge=1, le=2**53)] = 1
    """First step."""
    last: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """Last step; unset for the newest one."""
    buckets: Annotated[int, Field(ge=2, le=4096)] = 1024
    """At most so many buckets, and more than half as many where there are enough steps."""
    epochs: bool = True
    """Whether epochs are wanted too."""
