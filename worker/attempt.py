"""What an attempt needs from its surroundings, and what it gives back.

The trainer process gives a `Reporter` and a `Control` to `run_preprocess` or `run_training` and gets an
`AttemptResult`. Both are memory-fast: neither ever waits for Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from shared.events import EventBody

Wish = Literal["none", "cancel", "pause", "shutdown"]
"""What somebody wants of the attempt: nothing; save and stop for good; save and free the device until a person
resumes; save and give the job back, since the worker is told to stop."""


class Reporter(Protocol):
    """Takes the attempt's events, from any of its threads."""

    def publish(self, body: EventBody) -> None:
        """Send `body` on its way; never blocks."""
        ...

    @property
    def recorded_checkpoint(self) -> str | None:
        """The newest checkpoint that a later attempt would hear of; None before the first."""
        return None


class Control(Protocol):
    """The attempt's control flags as they stand in memory; looked at on every step boundary."""

    def wish(self) -> Wish:
        """What is wanted now; stays until the attempt ends."""
        ...

    def take_save(self) -> bool:
        """True once for each time that somebody asked to save now."""
        ...

    def take_preview(self) -> bool:
        """True once for each time that somebody asked for a preview now."""
        ...

    def beat(self) -> None:
        """Say that progress was made: a step, a file, a slow phase of the set-up."""
        ...


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """How an attempt ended, as far as it can tell itself."""

    outcome: Literal["completed", "cancelled", "paused", "handed_back", "failed"]
    """As in `shared.jobs.Outcome`; a crash or a lost lease is seen from outside."""
    step: int = 0
    """Steps done, those of earlier attempts included."""
    reason: str = ""
    """One sentence for a person."""
    detail: str = ""
    """Traceback behind a failure."""
