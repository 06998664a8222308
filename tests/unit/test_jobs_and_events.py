"""The values that travel: states, specifications, events."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from shared.errors import TransitionError
from shared.events import Event, LogLine, StepMetrics, finite
from shared.jobs import ACTIVE, ENDED, RESUMABLE, TRANSITIONS, JobState, check_transition


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(JobState)
    reachable = {JobState.QUEUED, JobState.HELD} | {state for targets in TRANSITIONS.values() for state in targets}
    assert reachable == set(JobState)


def test_a_queued_job_cannot_complete() -> None:
    with pytest.raises(TransitionError, match="Job 7 is queued, so it cannot become completed"):
        check_transition(7, JobState.QUEUED, JobState.COMPLETED)


@pytest.mark.parametrize("state", sorted(RESUMABLE))
def test_what_can_be_resumed_goes_back_to_the_queue(state: JobState) -> None:
    check_transition(1, state, JobState.QUEUED)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_job_is_left_by_a_resume_alone(state: JobState) -> None:
    assert TRANSITIONS[state] == {JobState.QUEUED}


def test_a_cancelling_job_never_runs_on() -> None:
    assert TRANSITIONS[JobState.CANCELLING] <= ENDED
    assert JobState.QUEUED not in TRANSITIONS[JobState.CANCELLING]
    assert JobState.CANCELLING in ACTIVE


def test_an_event_survives_the_wire() -> None:
    body = StepMetrics(
        step=[1, 2],
        epoch=[1, 1],
        loss=[0.5, finite(math.nan)],
        reconstruction=[0.25, finite(math.inf)],
        kl=[0.1, 0.1],
        kl_weight=[0.0, 0.0],
        learning_rate=[1e-3, 1e-3],
        grad_norm=[1.0, None],
        step_time_s=[0.1, 0.1],
        total_steps=100,
    )
    event = Event(job_id=3, number=9, attempt=2, at=1.5, body=body)
    assert Event.from_json(event.to_json()) == event
    assert body.loss == [0.5, None]


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValidationError):
        Event(job_id=1, attempt=1, at=math.nan, body=LogLine(message="x"))


def test_events_cannot_be_changed_or_carry_unknown_fields() -> None:
    event = Event(job_id=1, attempt=1, at=0.0, body=LogLine(message="x"))
    with pytest.raises(ValidationError):
        event.attempt = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        LogLine.model_validate({"message": "x", "colour": "red"})
