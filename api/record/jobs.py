"""Jobs in the record: submitted, listed, moved from state to state.

Every change of state goes through `move`, which checks it against the table of legal transitions and leaves the
event that tells of it in the outbox, in the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from api.record.database import Database
from api.record.history import read_checkpoints, read_events, read_previews
from api.record.summary import JobSummary
from api.record.tables import Job, Outbox
from api.views import (
    CheckpointListView,
    DatasetRef,
    EventListView,
    JobDetailView,
    JobView,
    PreviewListView,
)
from shared.config import TrainConfig
from shared.errors import NotFoundError
from shared.events import StateChanged
from shared.jobs import ACTIVE, ENDED, JobKind, JobSpec, JobState, PreprocessSpec, Priority, TrainSpec, check_transition
from shared.presets import preset_values, resolve_train_config

PRIORITIES: Final[Mapping[Priority, int]] = {"low": -1, "normal": 0, "high": 1}
PRIORITY_NAMES: Final[Mapping[int, Priority]] = {number: name for name, number in PRIORITIES.items()}

_STATE_ORDER = {JobState.QUEUED: 1, JobState.HELD: 1, JobState.PAUSED: 2}


class JobRecord:
    """All jobs. `changed` is called with the id of a job after its row changed."""

    def __init__(self, database: Database, changed: Callable[[int], None] = lambda _: None) -> None:
        self._database = database
        self.changed = changed

    def submit(self, *, name: str, spec: JobSpec, device: str) -> JobDetailView:
        """Record a new job at the end of the queue."""
        now = time.time()
        with self._database.session() as session:
            job = Job(
                kind=spec.kind,
                name=name,
                state=JobState.QUEUED.value,
                reason="",
                detail="",
                dataset_id=spec.dataset.dataset_id,
                dataset_name=spec.dataset.name,
                spec=spec.model_dump(mode="json"),
                wanted_device=device,
                position=next_position(session),
                summary=JobSummary().model_dump(mode="json"),
                created_at=now,
                queued_at=now,
            )
            session.add(job)
            session.flush()
            tell(session, job, now)
            view = detail_view(job)
        self.changed(view.id)
        return view

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        kind: JobKind | None = None,
        dataset_id: int | None = None,
        query: str = "",
        limit: int = 500,
    ) -> list[JobView]:
        """Active jobs first, then waiting ones in their order, then ended ones, newest first."""
        statement = select(Job)
        if states:
            statement = statement.where(Job.state.in_([state.value for state in states]))
        if kind:
            statement = statement.where(Job.kind == kind)
        if dataset_id is not None:
            statement = statement.where(Job.dataset_id == dataset_id)
        if query:
            pattern = "%" + query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            statement = statement.where(
                or_(Job.name.ilike(pattern, escape="\\"), Job.dataset_name.ilike(pattern, escape="\\"))
            )
        rank = case(
            *((Job.state == state.value, rank) for state, rank in _STATE_ORDER.items()),
            (Job.state.in_([state.value for state in ENDED]), 3),
            else_=0,
        )
        waiting = case((rank == 1, Job.position), else_=0.0)
        statement = statement.order_by(rank, waiting, Job.ended_at.desc(), Job.id.desc()).limit(limit)
        with self._database.reading() as session:
            return [job_view(job) for job in session.scalars(statement)]

    def get(self, job_id: int) -> JobDetailView:
        """One job; raises NotFoundError."""
        with self._database.reading() as session:
            return detail_view(find(session, job_id))

    def events(self, job_id: int, *, after: int = 0, limit: int = 1000, types: Sequence[str] = ()) -> EventListView:
        """Recorded events with numbers above `after`."""
        with self._database.reading() as session:
            return read_events(session, find(session, job_id), after=after, limit=limit, types=types)

    def checkpoints(self, job_id: int) -> CheckpointListView:
        """The checkpoints that exist, newest first."""
        with self._database.reading() as session:
            return read_checkpoints(session, find(session, job_id).id)

    def previews(self, job_id: int) -> PreviewListView:
        """Every preview, newest first."""
        with self._database.reading() as session:
            return read_previews(session, find(session, job_id).id)


def find(session: Session, job_id: int) -> Job:
    """The row of a job; raises NotFoundError."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return job


def next_position(session: Session) -> float:
    """A place behind all that wait."""
    return (session.scalar(select(func.max(Job.position))) or 0.0) + 1.0


def move(session: Session, job: Job, state: JobState, *, reason: str = "", detail: str = "") -> None:
    """Take `job` to `state`; raises TransitionError where the table does not allow it."""
    check_transition(job.id, JobState(job.state), state)
    now = time.time()
    job.state, job.reason, job.detail = state.value, reason, detail
    job.ended_at = now if state in ENDED else None
    if state is JobState.QUEUED:
        job.queued_at = now
    if state not in ACTIVE:
        job.wish, job.ticket_at = "none", None
    tell(session, job, now)
    if state in (JobState.QUEUED, JobState.HELD):
        job.worker = job.device = ""  # the others keep saying where they ran


def tell(session: Session, job: Job, now: float) -> None:
    """Leave the event of the job's present state in the outbox."""
    body = StateChanged(
        state=JobState(job.state),
        reason=job.reason,
        detail=job.detail,
        worker=job.worker or "",
        device=job.device or "",
    )
    session.add(Outbox(job_id=job.id, attempt=job.attempt or 0, at=now, body=body.model_dump(mode="json")))


def job_spec(job: Job) -> JobSpec:
    """The specification of a job's row."""
    return (TrainSpec if job.kind == "train" else PreprocessSpec).model_validate(job.spec)


def job_summary(job: Job) -> JobSummary:
    """The summary of a job's row."""
    return JobSummary.model_validate(job.summary or {})


def job_view(job: Job) -> JobView:
    """A job as lists show it."""
    return JobView.model_validate(_common(job, job_spec(job)))


def detail_view(job: Job) -> JobDetailView:
    """A job with its configuration."""
    spec = job_spec(job)
    train = spec.train if isinstance(spec, TrainSpec) else None
    return JobDetailView.model_validate(
        {
            **_common(job, spec),
            "train": train,
            "features": spec.train.features() if spec.kind == "train" else spec.features,
            "preset_differences": preset_differences(train, len(spec.dataset.clips)) if train else {},
            "versions": job_summary(job).versions,
        }
    )


def preset_differences(train: TrainConfig, file_count: int) -> dict[str, object]:
    """Fields of `train` that are not what its preset stands for."""
    preset = resolve_train_config(
        file_count=file_count,
        representation=train.representation,
        preset=train.preset,
        changes={"objective": train.objective}
        | ({"epochs": train.epochs} if "epochs" not in preset_values(train.preset, file_count) else {}),
    )
    mine, theirs = train.model_dump(mode="json"), preset.model_dump(mode="json")
    return {name: value for name, value in mine.items() if value != theirs[name]}


def _common(job: Job, spec: JobSpec) -> dict[str, object]:
    summary = job_summary(job)
    train = spec.train if isinstance(spec, TrainSpec) else None
    progress = summary.progress
    if train is not None:
        progress = progress.model_copy(update={"epochs": train.epochs})
    running_s = time.time() - summary.attempt_started_at if summary.attempt_started_at else 0.0
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": JobState(job.state),
        "reason": job.reason,
        "detail": job.detail,
        "dataset": DatasetRef(
            id=spec.dataset.dataset_id,
            name=spec.dataset.name,
            version=spec.dataset.version,
            clips=len(spec.dataset.clips),
        ),
        "representation": spec.train.representation if spec.kind == "train" else spec.features.representation,
        "preset": train.preset if train else None,
        "start": spec.start if isinstance(spec, TrainSpec) else None,
        "attempt": job.attempt or 0,
        "device": job.device or job.wanted_device,
        "worker": job.worker or "",
        "wanted_device": job.wanted_device,
        "placement": job.placement or {},
        "priority": PRIORITY_NAMES[job.priority or 0],
        "position": job.position,
        "batch": job.batch,
        "progress": progress,
        "loss": summary.loss,
        "val_reconstruction": summary.val_reconstruction,
        "quality": summary.quality,
        "overfitting_gap": summary.overfitting_gap,
        "active_units": summary.active_units,
        "latent_dim": summary.latent_dim,
        "steps_per_s": summary.steps_per_s,
        "eta_s": summary.eta_s if JobState(job.state) in ACTIVE else None,
        "elapsed_s": summary.ended_elapsed_s + max(0.0, running_s),
        "device_memory_bytes": summary.device_memory_bytes,
        "warnings": summary.warnings,
        "last_checkpoint": summary.last_checkpoint,
        "last_checkpoint_step": summary.last_checkpoint_step,
        "last_event": job.last_number or 0,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }
