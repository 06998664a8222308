"""How attempts end that do not complete: crashes, losses, handing back; and what was wished meanwhile."""

from __future__ import annotations

import pytest

from shared.events import (
    AttemptEnded,
)
from shared.jobs import (
    ACTIVE,
    JobState,
    Outcome,
    ResumeRequest,
)
from tests.unit.record.bench import STARTED, Bench, checkpoint, ended

ON_BOTH_DATABASES = True


def test_three_crashes_without_a_checkpoint_fail_it(bench: Bench) -> None:
    for count in range(1, 4):
        attempt = bench.assign()
        assert attempt == count
        bench.happen(STARTED, ended("crashed", "The trainer aborted."), attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert job.state is JobState.FAILED
    assert job.reason == "The trainer aborted. It was tried again and again without getting further."


def test_an_end_is_recorded_whatever_the_trainer_wrote(bench: Bench) -> None:
    """One that the database refused would keep its worker busy for ever."""
    wrote = AttemptEnded(outcome="failed", reason="It said \0.", detail="Killed\0 by its driver.", elapsed_s=1.0)
    bench.happen(STARTED, wrote, attempt=bench.assign())
    job = bench.record.get(bench.job_id)
    assert job.state is JobState.FAILED
    assert (job.reason, job.detail) == ("It said \ufffd.", "Killed\ufffd by its driver.")


def test_attempts_that_are_lost_without_a_checkpoint_do_not_go_on_for_ever(bench: Bench) -> None:
    losses = 0
    while bench.state is not JobState.FAILED:
        bench.happen(STARTED, attempt=bench.assign())
        bench.lose("here/cpu went silent.")
        losses += 1
        assert losses < 20
    assert losses == 9
    assert "went silent" in bench.record.get(bench.job_id).reason


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "paused", "handed_back", "failed", "crashed"])
@pytest.mark.parametrize("wishes", [[], ["pause"], ["cancel"], ["pause", "cancel"]])
@pytest.mark.parametrize("begun", [True, False])
def test_every_outcome_meets_every_wish(bench: Bench, outcome: Outcome, wishes: list[str], begun: bool) -> None:
    attempt = bench.assign()
    if begun:
        bench.happen(STARTED, attempt=attempt)
    for wish in wishes:
        getattr(bench.actions, wish)(bench.job_id)
    bench.happen(ended(outcome, "So it was."), attempt=attempt)
    state = bench.state
    assert state not in ACTIVE
    if outcome in ("completed", "failed"):
        assert state == outcome
    elif "cancel" in wishes:
        assert state is JobState.CANCELLED
    elif "pause" in wishes:
        assert state in (JobState.PAUSED, JobState.CANCELLED)


def test_a_chosen_checkpoint_is_kept_until_the_attempt_saved_its_own(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(5, kept=["1-5"]), checkpoint(9, kept=["1-9", "1-5"]), attempt=attempt)
    bench.happen(ended("failed", "Broken."), attempt=attempt)
    bench.actions.resume(bench.job_id, ResumeRequest(checkpoint="1-5"))
    assert bench.assign_spec().checkpoint == "1-5"
    bench.happen(STARTED, ended("handed_back"), attempt=2)
    assert bench.assign_spec().checkpoint == "1-5", "it never got to its first checkpoint"
    bench.happen(STARTED, checkpoint(30, kept=["3-30"], attempt=3), attempt=3)
    bench.lose("here/cpu went silent.")
    assert bench.assign_spec().checkpoint is None, "what it did since is not thrown away"


def test_a_crash_after_a_checkpoint_does_not_count(bench: Bench) -> None:
    for _ in range(5):
        attempt = bench.assign()
        saved = checkpoint(attempt * 10, kept=[f"{attempt}-{attempt * 10}"], attempt=attempt)
        bench.happen(STARTED, saved, ended("crashed", "Boom."), attempt=attempt)
    assert bench.state is JobState.QUEUED


def test_a_worker_that_stops_gives_the_job_back(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(8, kept=["1-8"]), ended("handed_back"), attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert job.state is JobState.QUEUED
    assert "worker was stopped" in job.reason


def test_an_attempt_that_is_handed_back_says_why_when_it_waits_again(bench: Bench) -> None:
    attempt = bench.assign()
    assert bench.hand_back("Its hours are over.")
    bench.happen(STARTED, attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert (job.state, job.reason) == (JobState.RUNNING, "Its hours are over.")
    bench.happen(checkpoint(8, kept=["1-8"]), ended("handed_back"), attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert (job.state, job.reason) == (JobState.QUEUED, "Its hours are over. Saved step 8 in 0.25 s.")
    assert not bench.hand_back("Again."), "nothing of it is at work any more"
    bench.happen(STARTED, ended("handed_back"), attempt=bench.assign())
    assert bench.record.get(bench.job_id).reason == "Its worker was stopped.", "a new attempt has wishes of its own"


@pytest.mark.parametrize(("wish", "state"), [("cancel", JobState.CANCELLED), ("pause", JobState.PAUSED)])
def test_what_a_person_wishes_outranks_handing_back(bench: Bench, wish: str, state: JobState) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    assert bench.hand_back("Its hours are over.")
    getattr(bench.actions, wish)(bench.job_id)
    assert not bench.hand_back("Its hours are over.")
    bench.happen(ended("handed_back"), attempt=attempt)
    assert bench.state is state


def test_an_attempt_whose_store_was_away_waits_again_and_says_so(bench: Bench) -> None:
    away = AttemptEnded(outcome="handed_back", reason="The artifact store is away.", elapsed_s=1.0)
    bench.happen(STARTED, away, attempt=bench.assign())
    job = bench.record.get(bench.job_id)
    assert (job.state, job.reason) == (JobState.QUEUED, "The artifact store is away.")


def test_crashes_while_it_is_handed_back_count(bench: Bench) -> None:
    for _ in range(3):
        bench.happen(STARTED, attempt=bench.assign())
        assert bench.hand_back("Its hours are over.")
        bench.happen(ended("crashed", "Boom."), attempt=bench.record.get(bench.job_id).attempt)
    assert bench.state is JobState.FAILED
