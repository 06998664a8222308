"""Where and when a job may run: what a person asks for, frozen with the job, read by the scheduler."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from shared import patterns
from shared.config import Frozen

Label = Annotated[str, Field(pattern=patterns.LABEL)]
"""A word that a person gives to workers, such as `studio` or `big-gpu`."""
ClockTime = Annotated[str, Field(pattern=patterns.CLOCK_TIME)]
"""Time of day as HH:MM, by the clock of the api's machine."""


class DailyHours(Frozen):
    """Hours of each day; from 23:00 to 07:00 goes over midnight."""

    start: ClockTime
    """From this time on."""
    end: ClockTime
    """Until this time; the same as `start` means the whole day."""


class Placement(Frozen):
    """Which workers a job may run on, and when; nothing said means any, and at any time."""

    labels: Annotated[tuple[Label, ...], Field(max_length=16)] = ()
    """The worker must have all of these."""
    worker: Annotated[str, Field(max_length=200)] = ""
    """The one worker that may run it; empty for any."""
    min_free_memory_bytes: Annotated[int, Field(ge=0, le=2**50)] = 0
    """Memory that must be free on the worker's device."""
    only_when_idle: bool = False
    """Start only where no other program keeps the machine busy, and make way when one does."""
    hours: DailyHours | None = None
    """Run only in these hours: at their end the job saves and waits for the next day."""
    time_limit_s: Annotated[float, Field(gt=0, le=31_536_000)] | None = None
    """The job saves and pauses once its attempts have run for so long together."""


def needs_of(device: str, placement: Placement) -> str:
    """Hash of what decides which workers may run a job, and when: jobs with equal ones wait for the same workers."""
    said = f"{device} {placement.model_dump_json(exclude={'time_limit_s'})}"
    return hashlib.sha256(said.encode()).hexdigest()
