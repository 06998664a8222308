"""Jobs in the record: submitted, listed, looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, and_, bindparam, insert, or_, select
from sqlalchemy.orm import Session

from api.queue.estimate import EarlierTraining, work_of
from api.record.checkpoints import read_checkpoints
from api.record.database import Database
from api.record.dependencies import check_known
from api.record.history import read_events, read_previews
from api.record.job_views import detail_view, job_views
from api.record.queue_settings import EndOfQueue, end_of_queue
from api.record.rows import PRIORITIES, find, job_spec, job_summary, stored_spec, train_config
from api.record.summary import JobSummary
from api.record.tables import Dataset, DatasetVersion, Job, JobDependency, Outbox
from api.views import (
    BatchView,
    CheckpointListView,
    EventListView,
    JobDetailView,
    JobView,
    PreviewListView,
)
from shared.config import Representation
from shared.errors import NotFoundError
from shared.events import StateChanged
from shared.jobs import ACTIVE, ENDED, DatasetSnapshot, JobKind, JobSpec, JobState, PreprocessRequest, TrainRequest
from shared.placement import needs_of
from shared.planning import plan_training

AnyJobView = TypeVar("AnyJobView", bound=JobView)

GiveNew = Callable[[Session, Job, JobSpec], Callable[[], None] | None]
"""Gives a job that the session has just added to a free worker, where nobody stands before it; returns what is to be
called once that is committed, or None: then the job waits for the scheduler's round."""

_KEPT: Final = (
    select(DatasetVersion.id, DatasetVersion.clips.is_not(None).label("has_clips"))
    .select_from(Dataset)
    .outerjoin(
        DatasetVersion,
        and_(DatasetVersion.dataset_id == Dataset.id, DatasetVersion.version == bindparam("version")),
    )
    .where(Dataset.id == bindparam("dataset_id"))
)
"""A version of a dataset; a row of nothing where only the dataset is there."""
_LOOKED_BACK: Final = 50
"""Trainings among which one is looked for that is like another."""
_WAITING_PART: Final = (JobState.QUEUED, JobState.HELD)
_ENDED_PART: Final = tuple(sorted(ENDED))
_PARTS: Final = (tuple(sorted(ACTIVE)), _WAITING_PART, (JobState.PAUSED,), _ENDED_PART)
"""The parts of a list, in its order."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that may be recorded."""

    name: str
    spec: JobSpec
    request: PreprocessRequest | TrainRequest
    """What was asked for."""
    submitted_by: str = ""
    """Name of the token that it was asked for with; empty where nobody has to log in."""


class JobRecord:
    """All jobs. `changed` is called with the id of a job after its row changed."""

    def __init__(self, database: Database, changed: Callable[[int], None] = lambda _: None) -> None:
        self._database = database
        self.changed = changed
        self.explain: Callable[[int, JobState, str], str] = lambda _job, _state, reason: reason
        """Why a job waits, from its id, its state and the reason in its row."""
        self.look: Callable[[], GiveNew] = lambda: lambda _session, _job, _spec: None
        """Sees which workers are free for a new job."""

    def submit(self, job: NewJob) -> JobDetailView:
        """Record a new job at the end of the queue, or with a worker that is free for it."""
        give = self.look()
        with self._database.session() as session:
            end = end_of_queue(session)
            row = add_job(session, job, end)
            session.add(Outbox(**_told(row.id, job, row.created_at)))
            send = None if job.request.after or end.is_paused else give(session, row, job.spec)
        if send is not None:
            send()  # before all else: a device waits
        self.changed(row.id)
        return self.get(row.id)

    def submit_batch(self, jobs: Sequence[NewJob]) -> BatchView:
        """Record new jobs at the end of the queue, in their order: all of them, or none."""
        with self._database.session() as session:
            ids = _insert(session, jobs[:1])
            ids += _insert(session, jobs[1:], batch=ids[0])
            find(session, ids[0]).batch = ids[0]
        for job_id in ids:
            self.changed(job_id)
        return BatchView(batch=ids[0], jobs=ids)

    def list(
        self,
        *,
        states: Sequence[JobState] = (),
        kind: JobKind | None = None,
        dataset_id: int | None = None,
        query: str = "",
        batch: int | None = None,
        limit: int = 500,
        ended: int | None = None,
    ) -> list[JobView]:
        """Active jobs first, then waiting ones in the order of the queue, then ended ones, newest first.

        At most `limit` jobs; or so many that have not ended, and `ended` others.
        """
        filters = list[ColumnElement[bool]]()
        if kind:
            filters.append(Job.kind == kind)
        if dataset_id is not None:
            filters.append(Job.dataset_id == dataset_id)
        if batch is not None:
            filters.append(Job.batch == batch)
        if query:
            pattern = "%" + query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            filters.append(or_(Job.name.ilike(pattern, escape="\\"), Job.dataset_name.ilike(pattern, escape="\\")))
        with self._database.reading() as session:
            ids = _listed(session, states, filters, limit, ended)
            rows = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}
            views = job_views(session, [rows[job_id] for job_id in ids])
        return [self._explained(view) for view in views]

    def get(self, job_id: int) -> JobDetailView:
        """One job; raises NotFoundError."""
        with self._database.reading() as session:
            view = detail_view(session, find(session, job_id))
        return self._explained(view)

    def views(self, job_ids: Sequence[int]) -> Sequence[JobView]:
        """Jobs as lists show them, by their numbers; those that do not exist are left out."""
        with self._database.reading() as session:
            views = job_views(session, session.scalars(select(Job).where(Job.id.in_(job_ids)).order_by(Job.id)).all())
        return [self._explained(view) for view in views]

    def earlier_training(self, representation: Representation) -> EarlierTraining | None:
        """How fast the newest training of that kind was that got going; None where there is none."""
        with self._database.reading() as session:
            newest = select(Job).where(Job.kind == "train").order_by(Job.id.desc()).limit(_LOOKED_BACK)
            for job in session.scalars(newest):
                rate, train = job_summary(job).steps_per_s, train_config(job)
                if rate and train is not None and train.representation == representation:
                    batch_size = plan_training(job_spec(session, job).dataset.clips, train).batch_size
                    return EarlierTraining(work=work_of(train, batch_size), steps_per_s=rate)
        return None

    def check_known(self, job_ids: Sequence[int]) -> None:
        """Raise NotFoundError unless all of them exist."""
        with self._database.reading() as session:
            check_known(session, job_ids)

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

    def _explained(self, view: AnyJobView) -> AnyJobView:
        if view.state not in (JobState.QUEUED, JobState.HELD):
            return view
        return view.model_copy(update={"reason": self.explain(view.id, view.state, view.reason)})


def _listed(
    session: Session,
    states: Sequence[JobState],
    filters: Sequence[ColumnElement[bool]],
    limit: int,
    ended: int | None,
) -> list[int]:
    """Ids of the jobs of a list, in its order. Each part comes out of an index, however many jobs the record has."""
    ids = list[int]()
    for part in _PARTS:
        wanted = [state for state in part if not states or state in states]
        has_ended = part is _ENDED_PART
        left = ended if has_ended and ended is not None else limit - len(ids)
        if not wanted or left < 1:
            continue
        # All that ended are those with a time, which has an index of its own.
        among = (
            Job.ended_at.is_not(None)
            if has_ended and len(wanted) == len(part)
            else Job.state.in_([state.value for state in wanted])
        )
        order = (Job.priority.desc(), Job.position, Job.id) if part is _WAITING_PART else (Job.id.desc(),)
        order = (Job.ended_at.desc(), Job.id.desc()) if has_ended else order
        ids += session.scalars(select(Job.id).where(among, *filters).order_by(*order).limit(left))
    return ids


def add_job(session: Session, job: NewJob, end: EndOfQueue) -> Job:
    """Add a row for `job` at the `end`, with what it waits for; nobody is told of it yet."""
    now = time.time()
    _keep_clips(session, job.spec.dataset)
    row = Job(**_row(job, now), position=end.position, id=end.job_id)
    session.add(row)
    if end.job_id is None or job.request.after:  # else it is written once, with the worker that it is given to
        session.flush()
    _add_dependencies(session, [row.id], [job])
    return row


def _insert(session: Session, jobs: Sequence[NewJob], *, batch: int | None = None) -> list[int]:
    """The same for several, each kind of row in one statement; returns their ids."""
    if not jobs:
        return []
    now = time.time()
    for dataset in {(job.spec.dataset.dataset_id, job.spec.dataset.version): job.spec.dataset for job in jobs}.values():
        _keep_clips(session, dataset)
    end = end_of_queue(session)
    rows = [_row(job, now) | {"position": end.position + index, "batch": batch} for index, job in enumerate(jobs)]
    if end.job_id is not None:
        rows = [row | {"id": end.job_id + index} for index, row in enumerate(rows)]
    added = session.scalars(insert(Job).returning(Job.id, sort_by_parameter_order=True), rows)
    ids = list(added)
    _add_dependencies(session, ids, jobs)
    session.execute(insert(Outbox), [_told(job_id, job, now) for job_id, job in zip(ids, jobs, strict=True)])
    return ids


def _add_dependencies(session: Session, ids: Sequence[int], jobs: Sequence[NewJob]) -> None:
    waits = [
        {"job_id": job_id, "after_id": after_id}
        for job_id, job in zip(ids, jobs, strict=True)
        for after_id in sorted(set(job.request.after))
    ]
    if waits:
        check_known(session, {wait["after_id"] for wait in waits})
        session.execute(insert(JobDependency), waits)


def _row(job: NewJob, now: float) -> dict[str, Any]:
    spec, request = job.spec, job.request
    return {
        "kind": spec.kind,
        "name": job.name,
        "state": _state(job).value,
        "dataset_id": spec.dataset.dataset_id,
        "dataset_name": spec.dataset.name,
        "spec": stored_spec(spec),
        "wanted_device": request.device,
        "placement": request.placement.model_dump(mode="json"),
        "needs": needs_of(request.device, request.placement),
        "priority": PRIORITIES[request.priority],
        "request": stored_request(request),
        "submitted_by": job.submitted_by,
        "summary": JobSummary().model_dump(mode="json"),
        "created_at": now,
        "queued_at": now,
    }


def _told(job_id: int, job: NewJob, now: float) -> dict[str, Any]:
    """The row of the outbox that tells of a new job."""
    return {"job_id": job_id, "attempt": 0, "at": now, "body": StateChanged(state=_state(job)).model_dump(mode="json")}


def _state(job: NewJob) -> JobState:
    return JobState.HELD if job.request.held else JobState.QUEUED


def stored_request(request: PreprocessRequest | TrainRequest) -> dict[str, Any]:
    """What a job's row keeps of `request`: what was said, since what was not follows from something else."""
    return {"kind": request.kind, **request.model_dump(mode="json", exclude_unset=True)}


def _keep_clips(session: Session, dataset: DatasetSnapshot) -> None:
    """Have the clips of a dataset's version in the record, once for all jobs that use it.

    Raises NotFoundError where the dataset was deleted meanwhile.
    """
    found = session.execute(_KEPT, {"dataset_id": dataset.dataset_id, "version": dataset.version}).first()
    if found is None:
        raise NotFoundError(f"dataset: there is no dataset {dataset.name!r} any more.", field="dataset")
    if found.has_clips:
        return
    if found.id is None:
        row = DatasetVersion(
            dataset_id=dataset.dataset_id,
            version=dataset.version,
            version_hash=dataset.version_hash,
            created_at=time.time(),
        )
        session.add(row)
    else:
        row = session.get_one(DatasetVersion, found.id)
    row.clips = [clip.model_dump(mode="json") for clip in dataset.clips]
    session.flush()
