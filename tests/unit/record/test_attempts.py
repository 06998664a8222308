"""How events move a job from state to state, on a record of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.record.attempts import attempt_spec, record_events, take_back
from api.record.rows import find, job_summary
from api.record.summary import fold
from shared.errors import ConfigError, NotFoundError, TransitionError
from shared.events import (
    EpochMetrics,
    Event,
    LogLine,
    StepMetrics,
    Warned,
)
from shared.jobs import (
    JobState,
    ResumeRequest,
)
from tests.unit.record.bench import STARTED, Bench, checkpoint, ended

ON_BOTH_DATABASES = True


def test_a_training_that_runs_through(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    assert bench.state is JobState.RUNNING
    bench.happen(ended("completed"), attempt=attempt)
    assert bench.state is JobState.COMPLETED
    assert bench.told == ["queued", "starting", "running", "completed"]


def test_what_lists_show_comes_from_events(bench: Bench) -> None:
    attempt = bench.assign()
    steps = StepMetrics(
        step=[1, 2],
        epoch=[1, 1],
        loss=[0.9, 0.8],
        reconstruction=[0.5, 0.4],
        kl=[1.0, 1.0],
        kl_weight=[0.0, 0.0],
        learning_rate=[1e-3, 1e-3],
        grad_norm=[1.0, 1.0],
        step_time_s=[0.1, 0.1],
        total_steps=100,
    )
    epoch = EpochMetrics(epoch=1, epochs=10, step=10, total_steps=100, train_loss=0.7, quality=0.9, elapsed_s=3.0)
    warned = Warned(code="collapse", message="Most dimensions are silent.", advice="Use a smaller latent.")
    bench.happen(STARTED, steps, epoch, warned, warned, attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert job.loss == 0.8
    assert job.quality == 0.9
    assert job.steps_per_s == pytest.approx(10.0)
    assert (job.progress.epoch, job.progress.step, job.progress.total_steps) == (1, 10, 100)
    assert [warning.code for warning in job.warnings] == ["collapse"]
    assert job.last_event == 5


def test_events_that_come_together_come_to_the_same_as_one_by_one(bench: Bench) -> None:
    def steps(first: int, *times: float | None) -> StepMetrics:
        numbers = [1.0 / (first + index) for index in range(len(times))]
        return StepMetrics(
            step=[first + index for index in range(len(times))],
            epoch=[1] * len(times),
            **dict.fromkeys(("loss", "reconstruction", "kl", "kl_weight", "learning_rate", "grad_norm"), numbers),
            step_time_s=list(times),
            total_steps=100,
        )

    epoch = EpochMetrics(epoch=1, epochs=10, step=7, total_steps=100, train_loss=0.7, quality=0.9, elapsed_s=3.0)
    log = LogLine(message='Grün \u2028 \U0001f600 "\\')
    told = [
        *(STARTED, steps(1, 0.1, 0.2), steps(3, 0.3), steps(4, None), steps(4)),
        *(epoch, steps(5, 0.2), log, steps(6, 0.5), checkpoint(6, kept=["1-6"])),
        *(steps(7, 0.7), steps(8, 0.1), steps(8)),
    ]
    events = [
        Event(job_id=bench.job_id, number=number, attempt=number != 5, at=float(number), body=body)
        for number, body in enumerate(told, 1)
    ]
    bench.assign()
    with bench.database.session() as session:
        summary = job_summary(find(session, bench.job_id))
    for event in events:
        summary = fold(summary, event.body, event.at) if event.attempt else summary
    for part in (events[:7], events[7:]):
        with bench.database.session() as session:
            record_events(session, {bench.job_id: part})
    with bench.database.reading() as session:
        assert job_summary(find(session, bench.job_id)) == summary
    assert bench.record.events(bench.job_id).events == events


def test_a_job_that_an_older_version_wrote_is_read(bench: Bench) -> None:
    with bench.database.session() as session:
        job = find(session, bench.job_id)
        job.summary = {**job.summary, "elapsed_s": 12.0, "ended_elapsed_s": 9.0}
        spec = {name: value for name, value in job.spec.items() if name != "start"}
        newer = ("pitches", "noise_db", "gain_probability", "spectral_weight", "augment_probability")
        job.spec = spec | {"train": {name: value for name, value in spec["train"].items() if name not in newer}}
    job = bench.record.get(bench.job_id)
    assert job.elapsed_s == 9.0
    assert job.start is None
    assert job.train is not None
    assert (job.train.pitches, job.train.augment_probability) == ((), 1.0)
    assert bench.assign() == 1, "and it goes on"


def test_events_are_recorded_once_however_often_they_come(bench: Bench) -> None:
    attempt = bench.assign()
    event = Event(job_id=bench.job_id, number=1, attempt=attempt, at=1.0, body=STARTED)
    for _ in range(3):
        with bench.database.session() as session:
            assert record_events(session, {bench.job_id: [event]})[bench.job_id].last_number == 1
    assert len(bench.record.events(bench.job_id).events) == 1


def test_cancel_while_it_waits_ends_it_at_once(bench: Bench) -> None:
    assert bench.actions.cancel(bench.job_id).state is JobState.CANCELLED
    assert bench.controls.wishes == []
    with pytest.raises(TransitionError, match="is cancelled"):
        bench.actions.cancel(bench.job_id)


def test_cancel_while_it_runs_waits_for_the_saved_step(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    assert bench.actions.cancel(bench.job_id).state is JobState.CANCELLING
    assert bench.controls.wishes == [(bench.job_id, attempt, "cancel")]
    bench.happen(checkpoint(1234, kept=["1-1234"]), ended("cancelled"), attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert job.state is JobState.CANCELLED
    assert job.reason == "Saved step 1,234 in 0.25 s."
    assert job.last_checkpoint_step == 1234


def test_a_resume_goes_on_and_may_extend(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(7, kept=["1-7"]), attempt=attempt)
    bench.actions.pause(bench.job_id)
    bench.happen(ended("paused"), attempt=attempt)
    request = ResumeRequest(epochs=20)
    summary = bench.actions.resume_summary(bench.job_id, request)
    assert (summary.possible, summary.checkpoint, summary.step, summary.epochs) == (True, "1-7", 7, 20)
    assert [(change.field, change.before, change.after) for change in summary.changes] == [("epochs", 10, 20)]
    bench.actions.resume(bench.job_id, request)
    assert bench.assign() == 2
    assert bench.record.get(bench.job_id).train.epochs == 20  # pyright: ignore[reportOptionalMemberAccess]


def test_a_completed_job_is_resumed_only_to_be_extended(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(70, kept=["1-70"], epoch=10), ended("completed"), attempt=attempt)
    for same in (ResumeRequest(), ResumeRequest(epochs=10)):
        with pytest.raises(TransitionError, match="give more epochs than its 10"):
            bench.actions.resume(bench.job_id, same)
    with pytest.raises(ConfigError, match="has done 10 epochs already; give more than that to extend it"):
        bench.actions.resume(bench.job_id, ResumeRequest(epochs=9))
    assert bench.state is JobState.COMPLETED
    assert bench.actions.resume(bench.job_id, ResumeRequest(epochs=11)).state is JobState.QUEUED


def test_only_checkpoints_that_exist_can_be_chosen(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(5, kept=["1-5"]), checkpoint(9, kept=["1-9"]), attempt=attempt)
    assert [each.name for each in bench.record.checkpoints(bench.job_id).checkpoints] == ["1-9"]
    bench.happen(ended("failed", "Broken."), attempt=attempt)
    with pytest.raises(NotFoundError, match="1-5"):
        bench.actions.resume(bench.job_id, ResumeRequest(checkpoint="1-5"))


def test_the_time_limit_counts_every_attempt(bench: Bench) -> None:
    assert bench.assign_spec().time_left_s is None
    bench.happen(STARTED, ended("handed_back"), attempt=1)
    with bench.database.session() as session:
        find(session, bench.job_id).placement = {"time_limit_s": 8.0}
    assert bench.assign_spec().time_left_s == 3.0, "5 of its 8 s are over"
    bench.happen(STARTED, ended("handed_back"), attempt=2)
    assert bench.assign_spec().time_left_s == 0.0


def test_a_job_whose_time_is_up_is_not_resumed_before_it_gets_more(bench: Bench) -> None:
    with bench.database.session() as session:
        find(session, bench.job_id).placement = {"time_limit_s": 5.0}
    bench.happen(STARTED, ended("paused", "Its time limit of 5 s is reached."), attempt=bench.assign())
    with pytest.raises(TransitionError, match="used up its time limit"):
        bench.actions.resume(bench.job_id, ResumeRequest())
    with bench.database.session() as session:
        find(session, bench.job_id).placement = {"time_limit_s": 6.0}
    assert bench.actions.resume(bench.job_id, ResumeRequest()).state is JobState.QUEUED


@pytest.mark.parametrize(("wish", "state"), [("cancel", JobState.CANCELLED), ("pause", JobState.PAUSED)])
def test_a_lost_attempt_ends_as_was_wished(bench: Bench, wish: str, state: JobState) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    getattr(bench.actions, wish)(bench.job_id)
    bench.lose("here/cpu went silent.")
    assert bench.state is state


def test_a_lost_attempt_without_a_wish_is_queued_again(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    bench.lose("here/cpu went silent.")
    assert bench.state is JobState.QUEUED
    assert bench.assign(above=5) == 6, "a new attempt is above everything that Redis knows"


def test_an_older_attempt_changes_nothing(bench: Bench) -> None:
    first = bench.assign()
    bench.happen(STARTED, attempt=first)
    bench.lose("gone")
    second = bench.assign()
    bench.happen(ended("completed"), attempt=first)
    assert bench.state is JobState.STARTING
    bench.happen(STARTED, attempt=second)
    assert bench.state is JobState.RUNNING


def test_save_and_preview_need_a_running_training(bench: Bench) -> None:
    with pytest.raises(TransitionError, match="only while it runs"):
        bench.actions.save(bench.job_id)
    attempt = bench.assign()
    bench.happen(STARTED, attempt=attempt)
    bench.actions.save(bench.job_id)
    bench.actions.preview(bench.job_id)
    assert bench.controls.wishes == [(bench.job_id, attempt, "save"), (bench.job_id, attempt, "preview")]


def test_lists_find_jobs_by_state_kind_and_words(bench: Bench) -> None:
    found: Callable[..., int] = lambda **filters: len(bench.record.list(**filters))  # noqa: E731
    assert found(states=[JobState.QUEUED]) == 1
    assert found(states=[JobState.FAILED]) == 0
    assert found(kind="train", query="FIRS") == 1
    assert found(query="drum") == 1
    assert found(query="%") == 0, "a percent sign is not a wildcard"
    assert found(kind="preprocess") == 0


def test_each_attempt_has_a_secret_of_its_own_that_a_second_ticket_repeats(bench: Bench) -> None:
    first = bench.assign_spec()
    with bench.database.session() as session:
        assert attempt_spec(session, find(session, bench.job_id)).secret == first.secret
        take_back(session, find(session, bench.job_id), reason="")
    assert len(first.secret) >= 32
    assert bench.assign_spec().secret not in ("", first.secret)


def test_what_is_done_again_is_said(bench: Bench) -> None:
    attempt = bench.assign()
    bench.happen(STARTED, steps(1, 26), attempt=attempt)
    bench.lose("w1 went silent.")
    told = "w1 went silent. Nothing had been saved yet: it starts over, and 26 steps are done again."
    assert bench.record.get(bench.job_id).reason == told
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(1000, kept=["2-1000"], attempt=2), steps(1000, 1001), attempt=attempt)
    bench.lose("w1 went silent.")
    told = "w1 went silent. It goes on from step 1,000, the last that was saved, and 1 step is done again."
    assert bench.record.get(bench.job_id).reason == told
    attempt = bench.assign()
    bench.happen(STARTED, checkpoint(1001, kept=["3-1001"], attempt=3), attempt=attempt)
    bench.lose("w1 went silent.")
    assert bench.record.get(bench.job_id).reason == "w1 went silent."


def steps(*numbers: int) -> StepMetrics:
    """Metrics of steps."""
    each = [0.5 for _ in numbers]
    return StepMetrics(
        step=list(numbers),
        epoch=[1 for _ in numbers],
        loss=[*each],
        reconstruction=[*each],
        kl=[*each],
        kl_weight=[*each],
        learning_rate=[*each],
        grad_norm=[*each],
        step_time_s=[*each],
        total_steps=5_000,
    )
