"""How events move a job from state to state, on a record of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from api.queue.actions import JobActions
from api.record.attempts import assign, attempt_spec, hand_back, record_events, take_back
from api.record.database import Database
from api.record.jobs import JobRecord, NewJob
from api.record.rows import find
from api.record.tables import Dataset, Outbox
from shared.errors import ConfigError, NotFoundError, TransitionError
from shared.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EpochMetrics,
    Event,
    EventBody,
    StepMetrics,
    Warned,
)
from shared.jobs import (
    ACTIVE,
    AttemptSpec,
    Clip,
    DatasetSnapshot,
    JobState,
    Outcome,
    ResumeRequest,
    TrainRequest,
    TrainSpec,
)
from shared.presets import resolve_train_config

ON_BOTH_DATABASES = True

STARTED = AttemptStarted(worker="here/cpu", device="cpu")


class NoControls:
    """Stands in for Redis' flags: remembers what was wished."""

    def __init__(self) -> None:
        self.wishes: list[tuple[int, int, str]] = []

    def wish(self, job_id: int, attempt: int, wish: str) -> None:
        self.wishes.append((job_id, attempt, wish))

    def ask(self, job_id: int, attempt: int, what: str) -> None:
        self.wishes.append((job_id, attempt, what))


class Bench:
    """A record with one queued training, and what happens to it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.migrate()
        self.record = JobRecord(self.database)
        self.controls = NoControls()
        self.actions = JobActions(self.database, self.record, self.controls)  # pyright: ignore[reportArgumentType]
        clip = Clip(
            sha256="0" * 64,
            name="a.wav",
            num_samples=48_000,
            sample_rate=48_000,
            channels=1,
            format="WAV",
            size_bytes=9,
        )
        with self.database.session() as session:
            session.add(Dataset(id=1, name="drums", created_at=0.0))
        spec = TrainSpec(
            dataset=DatasetSnapshot(dataset_id=1, name="drums", version=1, version_hash="f" * 64, clips=(clip,)),
            train=resolve_train_config(file_count=1, changes={"epochs": 10}),
        )
        self.job_id = self.record.submit(NewJob(name="first", spec=spec, request=TrainRequest(dataset="drums"))).id
        self.number = 0

    def assign_spec(self, above: int = 0) -> AttemptSpec:
        with self.database.session() as session:
            return assign(session, find(session, self.job_id), worker="here/cpu", device="cpu", above=above)

    def assign(self, above: int = 0) -> int:
        return self.assign_spec(above).attempt

    def happen(self, *bodies: EventBody, attempt: int) -> None:
        events: list[Event] = []
        for body in bodies:
            self.number += 1
            events.append(Event(job_id=self.job_id, number=self.number, attempt=attempt, at=100.0, body=body))
        with self.database.session() as session:
            record_events(session, {self.job_id: events})

    def lose(self, reason: str) -> None:
        with self.database.session() as session:
            take_back(session, find(session, self.job_id), reason=reason)

    def hand_back(self, reason: str) -> bool:
        with self.database.session() as session:
            return hand_back(session, find(session, self.job_id), reason=reason)

    @property
    def state(self) -> JobState:
        return self.record.get(self.job_id).state

    @property
    def told(self) -> list[str]:
        """States in the outbox, in order."""
        with self.database.reading() as session:
            return [row.body["state"] for row in session.scalars(select(Outbox).order_by(Outbox.id))]


@pytest.fixture
def bench(record_url: str):
    bench = Bench(record_url)
    yield bench
    bench.database.close()


def checkpoint(step: int, *, kept: list[str], attempt: int = 1, epoch: int = 1) -> CheckpointSaved:
    return CheckpointSaved(
        name=f"{attempt}-{step}",
        epoch=epoch,
        step=step,
        reason="cancel",
        best=False,
        size_bytes=10,
        seconds=0.25,
        kept=kept,
    )


def ended(outcome: Outcome, reason: str = "") -> AttemptEnded:
    return AttemptEnded(outcome=outcome, reason=reason, elapsed_s=5.0)


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


def test_a_job_that_an_older_version_wrote_is_read(bench: Bench) -> None:
    with bench.database.session() as session:
        job = find(session, bench.job_id)
        job.summary = {**job.summary, "elapsed_s": 12.0, "ended_elapsed_s": 9.0}
        spec = {name: value for name, value in job.spec.items() if name != "start"}
        newer = ("pitches", "noise_db", "gain_probability", "spectral_weight")
        job.spec = spec | {"train": {name: value for name, value in spec["train"].items() if name not in newer}}
    job = bench.record.get(bench.job_id)
    assert job.elapsed_s == 9.0
    assert job.start is None
    assert job.train is not None
    assert job.train.pitches == ()
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


def test_three_crashes_without_a_checkpoint_fail_it(bench: Bench) -> None:
    for count in range(1, 4):
        attempt = bench.assign()
        assert attempt == count
        bench.happen(STARTED, ended("crashed", "The trainer aborted."), attempt=attempt)
    job = bench.record.get(bench.job_id)
    assert job.state is JobState.FAILED
    assert job.reason == "The trainer aborted. It was tried again and again without getting further."


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
