"""What people do to jobs: cancel, pause, resume, retry, hold, release, move, save now, preview now.

The record is written first; the flag in Redis follows. Where Redis is away, the wish stays in the record, and the
scheduler's reconciler writes the flag as soon as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Literal, cast

import structlog
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from api.queue.order import RENUMBERED, WAITING, first_waiting, place_before, place_last
from api.record.checkpoints import read_checkpoints
from api.record.database import Database
from api.record.job_views import detail_view
from api.record.jobs import JobRecord
from api.record.rows import DELETION, find, job_summary, move, next_position, train_config
from api.record.tables import Job
from api.views import BulkResultView, BulkView, ChangeView, CheckpointView, JobDetailView, ResumeSummaryView
from shared.control import Controls, Wish
from shared.errors import ConfigError, NotFoundError, SpectrainError, TransitionError
from shared.jobs import ACTIVE, CHANGEABLE, RESUMABLE, JobState, ResumeRequest
from shared.placement import Placement
from shared.queue_requests import BulkRequest, MoveRequest

log = structlog.get_logger(__name__)

Deed = Callable[[Session, Job], None]
"""Changes the row of a job, or raises before it has changed anything that stays."""

_DIRECT = frozenset({JobState.HELD, JobState.QUEUED, JobState.PAUSED})
_AT_WORK = frozenset({JobState.STARTING, JobState.RUNNING})


class JobActions:
    """Actions on the jobs of `record`; each answers with the job as it is afterwards."""

    def __init__(self, database: Database, record: JobRecord, controls: Controls) -> None:
        self._database = database
        self._record = record
        self._controls = controls

    def cancel(self, job_id: int) -> JobDetailView:
        """Stop the job: at once where it waits, after saving where it runs."""
        return self.act(job_id, _cancel)

    def pause(self, job_id: int) -> JobDetailView:
        """Have the job saved and its device freed until it is resumed."""
        return self.act(job_id, _pause)

    def hold(self, job_id: int) -> JobDetailView:
        """Keep the job in its place in the queue until it is released."""
        return self.act(job_id, _hold)

    def release(self, job_id: int) -> JobDetailView:
        """Let a held job start when its turn comes."""
        return self.act(job_id, _release)

    def next(self, job_id: int) -> JobDetailView:
        """Put the job before all that wait; a held one is released."""
        return self.act(job_id, _next)

    def move(self, job_id: int, request: MoveRequest) -> JobDetailView:
        """Give the job another place in the queue."""
        return self.act(job_id, partial(_move, before=request.before))

    def save(self, job_id: int) -> JobDetailView:
        """Have a checkpoint written at the next step."""
        return self._ask(job_id, "save")

    def preview(self, job_id: int) -> JobDetailView:
        """Have a preview made at the next step."""
        return self._ask(job_id, "preview")

    def resume(self, job_id: int, request: ResumeRequest) -> JobDetailView:
        """Queue the job again, to go on from its newest valid checkpoint or the one that is named."""
        return self.act(job_id, partial(_resume, request=request))

    def retry(self, job_id: int) -> JobDetailView:
        """Queue a job that did not get to its end again: from its newest checkpoint, or from the start without one."""
        return self.act(job_id, _retry)

    def resume_summary(self, job_id: int, request: ResumeRequest) -> ResumeSummaryView:
        """What a resume with `request` would do, or why it is not possible."""
        with self._database.reading() as session:
            return _summary(session, find(session, job_id), request)

    def bulk(self, request: BulkRequest) -> BulkView:
        """Do the same to several jobs, in one transaction; what one refuses keeps no other from it."""
        deed = _DEEDS[request.action]
        results: list[BulkResultView] = []
        done: list[Job] = []
        with self._database.session() as session:
            for job_id in dict.fromkeys(request.jobs):
                try:
                    with session.begin_nested():
                        job = find(session, job_id)
                        deed(session, job)
                except SpectrainError as error:
                    results.append(BulkResultView(job=job_id, ok=False, error=str(error)))
                else:
                    results.append(BulkResultView(job=job_id, ok=True))
                    done.append(job)
        self._follow(done)
        return BulkView(results=results)

    def act(self, job_id: int, deed: Deed) -> JobDetailView:
        """Do `deed` to a job in a transaction of its own, then bring its wish to its worker."""
        with self._database.session() as session:
            job = find(session, job_id)
            deed(session, job)
            session.flush()
            view = detail_view(session, job)
        self._follow([job])
        for other_id in session.info.get(RENUMBERED, ()):
            if other_id != job_id:
                self._record.changed(other_id)
        return view

    def _follow(self, jobs: Iterable[Job]) -> None:
        """Tell workers and watchers what is in the record now."""
        answers = True
        for job in jobs:
            if answers and job.wish != "none" and JobState(job.state) in ACTIVE:
                try:
                    self._controls.wish(job.id, job.attempt, cast(Wish, job.wish))
                except RedisError as error:
                    answers = False  # the reconciler writes them all once it is back
                    log.warning("control.waiting", job=job.id, wish=job.wish, error=str(error))
            self._record.changed(job.id)

    def _ask(self, job_id: int, what: Literal["save", "preview"]) -> JobDetailView:
        with self._database.reading() as session:
            job = find(session, job_id)
            if job.kind != "train":
                raise TransitionError(f"Job {job_id} preprocesses; only a training has something to {what}.")
            if JobState(job.state) not in _AT_WORK:
                raise TransitionError(f"Job {job_id} is {job.state}; it can {what} only while it runs.")
            view = detail_view(session, job)
        self._controls.ask(job_id, view.attempt, what)
        return view


def _cancel(session: Session, job: Job) -> None:
    state = JobState(job.state)
    if state in _DIRECT:
        move(session, job, JobState.CANCELLED, reason="" if state is JobState.PAUSED else "Never started.")
    elif state is not JobState.CANCELLING:
        move(session, job, JobState.CANCELLING)
        job.wish = "cancel"


def _pause(session: Session, job: Job) -> None:
    state = JobState(job.state)
    if state in WAITING:
        raise TransitionError(f"Job {job.id} is {state.value}; only a job at work can be paused: hold it instead.")
    if state is not JobState.PAUSING:
        move(session, job, JobState.PAUSING)
        job.wish = "pause"


def _hold(session: Session, job: Job) -> None:
    state = JobState(job.state)
    if state not in WAITING:
        hint = " pause it instead." if state in _AT_WORK else " this one does not wait."
        raise TransitionError(f"Job {job.id} is {state.value}; only a queued job can be held:{hint}")
    if state is JobState.QUEUED:
        move(session, job, JobState.HELD)


def _release(session: Session, job: Job) -> None:
    state = JobState(job.state)
    if state not in WAITING:
        raise TransitionError(f"Job {job.id} is {state.value}; only a held job can be released.")
    if state is JobState.HELD:
        move(session, job, JobState.QUEUED)


def _next(session: Session, job: Job) -> None:
    _check_waits(job)
    first = first_waiting(session)
    if first is not None and first.id != job.id:
        place_before(session, job, first)
    _release(session, job)


def _move(session: Session, job: Job, *, before: int | None) -> None:
    _check_waits(job)
    if before is None:
        place_last(session, job)
        return
    other = find(session, before, field="before")
    if other.id == job.id:
        raise ConfigError(f"before: job {job.id} cannot go before itself.", field="before")
    if JobState(other.state) not in WAITING:
        raise TransitionError(
            f"before: job {other.id} is {other.state}; a job can go before one that waits only.", field="before"
        )
    place_before(session, job, other)


def _check_waits(job: Job) -> None:
    if JobState(job.state) not in WAITING:
        raise TransitionError(f"Job {job.id} is {job.state}; only a queued or held job has a place in the queue.")


def _retry(session: Session, job: Job) -> None:
    if job.state == JobState.COMPLETED:
        raise TransitionError(f"Job {job.id} is completed; there is nothing to retry: duplicate it to run it again.")
    if JobState(job.state) not in RESUMABLE:
        raise TransitionError(f"Job {job.id} is {job.state}; it can be retried once it is failed, cancelled or paused.")
    _resume(session, job, request=ResumeRequest())


def _resume(session: Session, job: Job, *, request: ResumeRequest) -> None:
    summary = _summary(session, job, request)
    if not summary.possible:
        raise TransitionError(summary.reason)
    changes = {change.field: change.after for change in summary.changes}
    if changes:
        job.spec = {**job.spec, "train": {**job.spec["train"], **changes}}
        if job.request:
            job.request = {**job.request, "changes": {**job.request.get("changes", {}), **changes}}
    job.checkpoint_choice = request.checkpoint or ""
    job.fruitless = 0
    job.position = next_position(session)
    move(session, job, JobState.QUEUED)


_DEEDS: Final[Mapping[str, Deed]] = {
    "cancel": _cancel,
    "pause": _pause,
    "resume": partial(_resume, request=ResumeRequest()),
    "hold": _hold,
    "release": _release,
    "retry": _retry,
}
"""What can be done to several jobs at once."""


def _summary(session: Session, job: Job, request: ResumeRequest) -> ResumeSummaryView:
    train = train_config(job)
    summary = job_summary(job)
    chosen = _choose(read_checkpoints(session, job.id).checkpoints, request.checkpoint)
    view = ResumeSummaryView(
        job=job.id,
        possible=True,
        checkpoint=chosen.name if chosen else "",
        epoch=chosen.epoch if chosen else 0,
        step=chosen.step if chosen else 0,
        total_steps=summary.progress.total_steps,
        loss=chosen.loss if chosen else None,
        val_reconstruction=chosen.val_reconstruction if chosen else None,
        elapsed_s=summary.ended_elapsed_s,
        saved_at=chosen.at if chosen else None,
    )
    if train is not None:
        changes = [
            ChangeView(field=field, before=getattr(train, field), after=value)
            for field in CHANGEABLE
            if (value := getattr(request, field)) is not None and value != getattr(train, field)
        ]
        epochs = train.epochs if request.epochs is None else request.epochs
        total = round(summary.progress.total_steps * epochs / train.epochs)
        view = view.model_copy(update={"epochs": epochs, "changes": changes, "total_steps": total})
    reason = _why_not(job, train is not None, view)
    return view.model_copy(update={"possible": not reason, "reason": reason})


def _choose(checkpoints: list[CheckpointView], name: str | None) -> CheckpointView | None:
    if name is None:
        return checkpoints[0] if checkpoints else None
    for checkpoint in checkpoints:
        if checkpoint.name == name:
            return checkpoint
    raise NotFoundError(f"There is no checkpoint {name!r}.")


def _why_not(job: Job, trains: bool, view: ResumeSummaryView) -> str:
    """Why a resume is not possible, or nothing."""
    state = JobState(job.state)
    if job.wish == DELETION:
        return f"Job {job.id} is being deleted."
    if state not in RESUMABLE:
        return f"Job {job.id} is {state.value}; it can be resumed once it is paused, cancelled, failed or completed."
    limit_s = Placement.model_validate(job.placement or {}).time_limit_s
    if state is JobState.PAUSED and limit_s is not None and view.elapsed_s >= limit_s:
        return f"Job {job.id} has used up its time limit, and would pause again at once: edit it to give it more time."
    if not trains or (state is JobState.COMPLETED and not job.attempt):
        imported = "it was imported without the state of its training, so start a new one from it"
        why = imported if trains else "there is nothing left to do"
        return f"Job {job.id} is completed; {why}." if state is JobState.COMPLETED else ""
    if view.checkpoint and view.epochs < view.epoch:
        done = f"epochs: job {job.id} is in epoch {view.epoch} already; give that many or more."
        if state is JobState.COMPLETED:
            done = f"epochs: job {job.id} has done {view.epoch} epochs already; give more than that to extend it."
        raise ConfigError(done, field="epochs")
    if state is JobState.COMPLETED and not any(
        change.field == "epochs" and view.epochs > view.epoch for change in view.changes
    ):
        return f"Job {job.id} is completed; to extend it, give more epochs than its {view.epoch}."
    return ""
