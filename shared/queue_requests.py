"""What people ask of the queue, beside single jobs: to change, move and repeat jobs, and many of them at once."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shared.config import Frozen
from shared.jobs import JobRequest, Priority
from shared.patterns import DEVICE
from shared.placement import Placement

MAX_BATCH: Final = 1_000
"""Jobs that one request may submit, or act on."""

JobId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class EditRequest(Frozen):
    """What is to become of a job that has not ended; what is null or not said stays as it is."""

    name: Annotated[str, Field(max_length=200)] | None = None
    """What the job is called; empty for a name made of what it is about."""
    device: Annotated[str, Field(pattern=DEVICE)] | None = None
    """A job at work that may no longer run where it does saves, and goes on where it may."""
    placement: Placement | None = None
    """All of it: what it leaves out is not asked for any more."""
    priority: Priority | None = None
    """The job goes behind those that wait with that priority."""
    after: Annotated[tuple[JobId, ...], Field(max_length=100)] | None = None
    """Jobs that must have completed before it starts, in place of those that were named before."""
    preset: Literal["auto", "conservative", "balanced", "aggressive"] | None = None
    """Before a training has begun only."""
    changes: dict[str, object] | None = None
    """Values that differ from the preset, in place of those that were changed before; before a training has begun
    only."""


class MoveRequest(Frozen):
    """Where in the queue a job goes."""

    before: JobId | None
    """The waiting job that it goes before, with that one's priority; null for the end of the queue, with the priority
    of the last one there."""


class DuplicateRequest(Frozen):
    """How a job is repeated."""

    held: bool | None = None
    """Whether the new job waits to be released; null for as the first one was submitted."""


class BatchRequest(Frozen):
    """Jobs to be submitted together: all of them, or none."""

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=MAX_BATCH)]
    """In the order that they are queued in."""


class SweepRequest(Frozen):
    """One job in every combination of datasets and values."""

    job: JobRequest
    """What all of them have in common."""
    datasets: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=MAX_BATCH)] = []
    """Names or ids of datasets; empty for the job's own."""
    vary: Annotated[
        dict[str, Annotated[list[object], Field(min_length=1, max_length=MAX_BATCH)]], Field(max_length=16)
    ] = {}
    """Values by field of TrainConfig, such as latent_dim or spectrogram.n_mels."""


class BulkRequest(Frozen):
    """One action on several jobs."""

    action: Literal["cancel", "pause", "resume", "hold", "release", "retry"]
    jobs: Annotated[list[JobId], Field(min_length=1, max_length=MAX_BATCH)]
    """A job that it is not possible for keeps no other from it."""
