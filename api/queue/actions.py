"""What people do to jobs: cancel, pause, resume, save now, preview now.

The record is written first; the flag in Redis follows. Where Redis is away, the wish stays in the record, and the
scheduler's reconciler writes the flag as soon as it can.
"""

from __future__ import annotations

from typing import Literal

import structlog
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from api.record.database import Database
from api.record.history import read_checkpoints
from api.record.jobs import JobRecord, detail_view, find, job_spec, job_summary, move, next_position
from api.record.tables import Job
from api.views import ChangeView, CheckpointView, JobDetailView, ResumeSummaryView
from shared.control import Controls
from shared.errors import ConfigError, NotFoundError, ServiceError, TransitionError
from shared.jobs import RESUMABLE, JobState, ResumeRequest, TrainSpec

log = structlog.get_logger(__name__)

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
        with self._database.session() as session:
            job = find(session, job_id)
            state = JobState(job.state)
            if state in _DIRECT:
                move(session, job, JobState.CANCELLED, reason="" if state is JobState.PAUSED else "Never started.")
            elif state is not JobState.CANCELLING:
                job.wish = "cancel"
                move(session, job, JobState.CANCELLING)
        return self._wished(job, "cancel")

    def pause(self, job_id: int) -> JobDetailView:
        """Have the job saved and its device freed until it is resumed."""
        with self._database.session() as session:
            job = find(session, job_id)
            if job.state != JobState.PAUSING:
                move(session, job, JobState.PAUSING)
                job.wish = "pause"
        return self._wished(job, "pause")

    def save(self, job_id: int) -> JobDetailView:
        """Have a checkpoint written at the next step."""
        return self._ask(job_id, "save")

    def preview(self, job_id: int) -> JobDetailView:
        """Have a preview made at the next step."""
        return self._ask(job_id, "preview")

    def resume(self, job_id: int, request: ResumeRequest) -> JobDetailView:
        """Queue the job again, to go on from its newest valid checkpoint or the one that is named."""
        with self._database.session() as session:
            job = find(session, job_id)
            summary = self._summary(session, job, request)
            if not summary.possible:
                raise TransitionError(summary.reason)
            spec = job_spec(job)
            if isinstance(spec, TrainSpec):
                changes = {change.field: change.after for change in summary.changes}
                train = spec.train.model_copy(update=changes)
                job.spec = spec.model_copy(update={"train": train}).model_dump(mode="json")
            job.checkpoint_choice = request.checkpoint or ""
            job.fruitless = 0
            job.position = next_position(session)
            move(session, job, JobState.QUEUED)
            view = detail_view(job)
        self._record.changed(job_id)
        return view

    def resume_summary(self, job_id: int, request: ResumeRequest) -> ResumeSummaryView:
        """What a resume with `request` would do, or why it is not possible."""
        with self._database.reading() as session:
            return self._summary(session, find(session, job_id), request)

    def _summary(self, session: Session, job: Job, request: ResumeRequest) -> ResumeSummaryView:
        spec = job_spec(job)
        summary = job_summary(job)
        checkpoints = read_checkpoints(session, job.id).checkpoints
        chosen = _choose(checkpoints, request.checkpoint)
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
        if isinstance(spec, TrainSpec):
            changes = [
                ChangeView(field=field, before=getattr(spec.train, field), after=value)
                for field in ("epochs", "preview_every")
                if (value := getattr(request, field)) is not None and value != getattr(spec.train, field)
            ]
            epochs = spec.train.epochs if request.epochs is None else request.epochs
            total = round(summary.progress.total_steps * epochs / spec.train.epochs)
            view = view.model_copy(update={"epochs": epochs, "changes": changes, "total_steps": total})
        reason = _why_not(job, spec.kind == "train", view)
        return view.model_copy(update={"possible": not reason, "reason": reason})

    def _ask(self, job_id: int, what: Literal["save", "preview"]) -> JobDetailView:
        with self._database.reading() as session:
            job = find(session, job_id)
            if job.kind != "train":
                raise TransitionError(f"Job {job_id} preprocesses; only a training has something to {what}.")
            if JobState(job.state) not in _AT_WORK:
                raise TransitionError(f"Job {job_id} is {job.state}; it can {what} only while it runs.")
            view = detail_view(job)
        try:
            self._controls.ask(job_id, view.attempt, what)
        except RedisError as error:
            raise ServiceError(f"Redis does not answer, so the worker was not asked: try again ({error}).") from error
        return view

    def _wished(self, job: Job, wish: Literal["cancel", "pause"]) -> JobDetailView:
        if job.wish == wish:
            try:
                self._controls.wish(job.id, job.attempt, wish)
            except RedisError as error:
                log.warning("control.waiting", job=job.id, wish=wish, error=str(error))
        self._record.changed(job.id)
        return self._record.get(job.id)


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
    if state not in RESUMABLE:
        return f"Job {job.id} is {state.value}; it can be resumed once it is paused, cancelled, failed or completed."
    if not trains:
        return f"Job {job.id} is completed; there is nothing left to do." if state is JobState.COMPLETED else ""
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
