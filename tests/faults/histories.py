"""What a job's recorded history must look like, whatever was broken on its way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tests.system import JobJson, System


@dataclass(frozen=True, kw_only=True)
class AttemptHistory:
    """The steps of one attempt, as recorded."""

    attempt: int
    first: int
    last: int
    last_at: float
    """When the last step was told, in seconds since 1970."""
    told: list[tuple[int, float]]
    """Now and then the newest step, and when it was told."""


def whole_history(system: System, job_id: int) -> list[AttemptHistory]:
    """The attempts that did steps, in order, once it is proven that nothing is lost, doubled or stale.

    Event numbers have no gap; no attempt says anything after a newer one began; each attempt's steps follow each
    other; each attempt goes on where an earlier one was, without leaving a step out.
    """
    events = system.events(job_id)
    numbers = [event["number"] for event in events]
    assert numbers == list(range(1, len(numbers) + 1)), "event numbers have a gap or a double"
    of_workers = [event for event in events if event["body"]["type"] != "state"]
    for before, after in pairwise(of_workers):
        assert before["attempt"] <= after["attempt"], f"attempt {after['attempt']} was told of after a newer one"
    histories = [_attempt(attempt, events) for attempt in sorted({event["attempt"] for event in events})]
    done = [history for history in histories if history is not None]
    for before, after in pairwise(done):
        assert after.first <= before.last + 1, f"steps {before.last + 1} to {after.first - 1} are nowhere"
    assert not done or done[0].first == 1, "the first step is nowhere"
    return done


def repeated_s(histories: list[AttemptHistory]) -> list[float]:
    """For each attempt but the first: how many seconds of its forerunner's steps it did again."""
    return [
        max((before.last_at - at for step, at in before.told if step >= after.first), default=0.0)
        for before, after in pairwise(histories)
    ]


def _attempt(attempt: int, events: list[JobJson]) -> AttemptHistory | None:
    told = [event for event in events if event["attempt"] == attempt and event["body"]["type"] == "steps"]
    steps = [step for event in told for step in event["body"]["step"]]
    if not steps:
        return None
    assert steps == list(range(steps[0], steps[-1] + 1)), f"attempt {attempt} lost, doubled or mixed up steps"
    return AttemptHistory(
        attempt=attempt,
        first=steps[0],
        last=steps[-1],
        last_at=told[-1]["at"],
        told=[(event["body"]["step"][-1], event["at"]) for event in told],
    )
