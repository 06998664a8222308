"""Deleting jobs and datasets, with a preview of what goes.

    preview -> what goes, what it frees, or why it is not possible
    delete  -> the record, in short steps -> the artifacts
    finish  -> the same for what was interrupted between those steps

Once the record has forgotten them, artifacts that could not be removed, or that a killed api did not come to, belong
to nobody: `spectrain gc` finds them, and after a day also a folder that was half removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from typing_extensions import override

from api.background import Background, progressed
from api.backup.hold import check_not_held
from api.datasets.uploads import clip_key
from api.keeping.arrivals import Arrivals
from api.keeping.needed import has_clip, needed_clips
from api.keeping.views import DatasetDeletionView, DeletedView, JobDeletionView, JobLink
from api.record.database import Database
from api.record.datasets import find_dataset
from api.record.queue_settings import note_deleted
from api.record.rows import DELETION, find
from api.record.tables import (
    Checkpoint,
    Dataset,
    DatasetClip,
    DatasetVersion,
    Job,
    JobDependency,
    JobEvent,
    Outbox,
    Preview,
)
from shared.errors import InUseError, NotFoundError, StorageError
from shared.jobs import ENDED, JobState, start_weights_key
from shared.storage import Storage

_LINKS: Final = 20
"""Jobs in the way that are named."""
_SLICE: Final = 2_000
"""Events that are deleted at a time."""
_LOOK_EVERY_S: Final = 600.0

log = structlog.get_logger(__name__)


class Deletion:
    """Previews and deletes. Raises NotFoundError for what does not exist, InUseError for what must stay."""

    def __init__(self, *, database: Database, storage: Storage, arrivals: Arrivals) -> None:
        self._database = database
        self._storage = storage
        self._arrivals = arrivals
        self._at_work = set[int]()
        """Jobs that are being deleted by some thread."""
        self._done = threading.Condition()

    def preview_job(self, job_id: int) -> JobDeletionView:
        """What would go with a job."""
        with self._database.reading() as session:
            job = find(session, job_id)
            reason, blockers = self._in_the_way(session, job)
            view = JobDeletionView(
                job=job.id,
                name=job.name,
                possible=not reason,
                reason=reason,
                blockers=_links(blockers),
                events=_count(session, JobEvent.job_id == job_id),
                checkpoints=_count(session, Checkpoint.job_id == job_id),
                pinned=_count(session, Checkpoint.job_id == job_id, Checkpoint.pinned),
                previews=_count(session, Preview.job_id == job_id),
                size_bytes=0,
            )
        return view.model_copy(update={"size_bytes": self._size(f"jobs/{job_id}")})

    def delete_job(self, job_id: int) -> DeletedView:
        """Delete a job that has ended, with all that it made.

        Whoever writes the record waits for short steps only. From the first one on the job cannot go on any more, and
        where the api is killed in between, `finish` does the rest.
        """
        with self._alone_with(job_id):
            return self._delete_job(job_id)

    def finish(self) -> Iterator[int]:
        """Delete the jobs whose deletion was interrupted; yields the number of each as soon as it is gone.

        One that cannot be deleted now keeps no other from it.
        """
        with self._database.reading() as session:
            interrupted = session.scalars(select(Job.id).where(Job.wish == DELETION).order_by(Job.id)).all()
        for job_id in interrupted:
            try:
                self.delete_job(job_id)
            except NotFoundError:
                continue  # somebody was at it
            except (InUseError, StorageError) as error:
                log.info("deletion.waits", job=job_id, error=str(error))
            else:
                log.info("deletion.finished", job=job_id)
                yield job_id

    def _delete_job(self, job_id: int) -> DeletedView:
        size_bytes = self._size(f"jobs/{job_id}")
        with self._database.reading() as session:
            reason, _ = self._in_the_way(session, find(session, job_id))
        if reason:
            raise InUseError(reason)
        with self._database.session() as session:
            check_not_held(session)
            job = find(session, job_id)
            # Weights that others start from are kept before those are recorded, so the look at them still holds.
            reason, _ = _waited_for(session, job)
            if reason:
                raise InUseError(reason)
            job.wish = DELETION
        while self._delete_events(job_id) == _SLICE:
            progressed()
        with self._database.session() as session:
            session.execute(delete(Outbox).where(Outbox.job_id == job_id))
            session.delete(find(session, job_id))  # and with it all rows that are of it
            note_deleted(session, "job", job_id)
        return self._remove(f"jobs/{job_id}", size_bytes)

    def preview_dataset(self, key: int | str) -> DatasetDeletionView:
        """What would go with a dataset."""
        with self._database.reading() as session:
            dataset = find_dataset(session, key)
            own, going = _clips_of(session, dataset)
            users = _users(session, dataset)
            return DatasetDeletionView(
                dataset=dataset.id,
                name=dataset.name,
                possible=not users,
                reason=_used(session, dataset, users),
                blockers=_links(users),
                clips=len(own),
                shared_clips=len(own) - len(going),
                size_bytes=sum(own[sha256] for sha256 in going),
            )

    def delete_dataset(self, key: int | str) -> tuple[int, DeletedView]:
        """Delete a dataset that no job uses, with the clips that no other one has; its id, and what went."""
        with self._database.reading() as session:
            own = _clips_of_versions(session, find_dataset(session, key))
        with self._database.session() as session:
            check_not_held(session)
            dataset = find_dataset(session, key)
            users = _users(session, dataset)
            if users:
                raise InUseError(_used(session, dataset, users))
            dataset_id = dataset.id
            own |= _clips_now(session, dataset)
            session.execute(delete(DatasetClip).where(DatasetClip.dataset_id == dataset_id))
            session.execute(delete(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id))
            session.delete(dataset)
            note_deleted(session, "dataset", dataset_id)
        with self._database.reading() as session:
            going = own.keys() - needed_clips(session)
        freed = left = 0
        for sha256 in sorted(going):
            try:
                gone = self._arrivals.remove(
                    self._storage, clip_key(sha256), unneeded=lambda sha256=sha256: not self._has_clip(sha256)
                )
            except StorageError as error:
                log.warning("deletion.left", key=clip_key(sha256), error=str(error))
                left += own[sha256]
            else:
                freed += own[sha256] if gone else 0
        return dataset_id, DeletedView(freed_bytes=freed, left_bytes=left)

    @contextmanager
    def _alone_with(self, job_id: int) -> Generator[None]:
        """Wait until no other thread deletes the job, and keep others waiting."""
        with self._done:
            self._done.wait_for(lambda: job_id not in self._at_work)
            self._at_work.add(job_id)
        try:
            yield
        finally:
            with self._done:
                self._at_work.discard(job_id)
                self._done.notify_all()

    def _has_clip(self, sha256: str) -> bool:
        """Whether a dataset has the clip, which may have got it since its own one went."""
        with self._database.reading() as session:
            return has_clip(session, sha256)

    def _in_the_way(self, session: Session, job: Job) -> tuple[str, list[Job]]:
        """Why a job must stay, and because of which other jobs; nothing where it may go."""
        reason, waiting = _waited_for(session, job)
        if reason:
            return reason, waiting
        started = session.scalars(select(Job).where(Job.spec["start"]["job_id"].as_integer() == job.id)).all()
        lacking = [
            each for each in started if not self._storage.exists(start_weights_key(each.spec["start"]["sha256"]))
        ]
        if lacking:
            numbers = ", ".join(str(each.id) for each in lacking[:_LINKS])
            return (
                f"The weights that job {numbers} started from are nowhere but with job {job.id}: delete that first.",
                lacking,
            )
        return "", []

    def _delete_events(self, job_id: int) -> int:
        """Delete some of a job's events; how many."""
        some = select(JobEvent.number).where(JobEvent.job_id == job_id).order_by(JobEvent.number).limit(_SLICE)
        with self._database.session() as session:
            numbers = session.scalars(some).all()
            if numbers:
                upto = JobEvent.number <= numbers[-1]
                session.execute(delete(JobEvent).where(JobEvent.job_id == job_id, upto))
        return len(numbers)

    def _size(self, prefix: str) -> int:
        return sum(entry.size_bytes for entry in self._storage.entries(prefix))

    def _remove(self, prefix: str, size_bytes: int) -> DeletedView:
        try:
            self._storage.delete(prefix)
        except StorageError as error:
            log.warning("deletion.left", key=prefix, error=str(error))
            return DeletedView(freed_bytes=0, left_bytes=size_bytes)
        return DeletedView(freed_bytes=size_bytes)


class Unfinished(Background):
    """Finishes, when the api starts and now and then, what was interrupted."""

    def __init__(self) -> None:
        super().__init__("deletions", every_s=_LOOK_EVERY_S)
        self.finish: Callable[[], None] = lambda: None
        """Set by the application."""

    @override
    def work(self) -> None:
        self.finish()


def _waited_for(session: Session, job: Job) -> tuple[str, list[Job]]:
    """Why a job must stay because it has not ended, or others wait for it; out of indexes."""
    if JobState(job.state) not in ENDED:
        return f"Job {job.id} is {job.state}: cancel it first.", []
    if job.state == JobState.COMPLETED:
        return "", []
    waiting = list(
        session.scalars(
            select(Job)
            .join(JobDependency, JobDependency.job_id == Job.id)
            .where(JobDependency.after_id == job.id, Job.state.not_in([state.value for state in ENDED]))
            .order_by(Job.id)
        )
    )
    return (f"{_named(waiting)} for job {job.id} to complete: cancel or edit that first." if waiting else ""), waiting


def _clips_of(session: Session, dataset: Dataset) -> tuple[dict[str, int], set[str]]:
    """Bytes of each clip that any version of a dataset has, by hash, and those that no other dataset has."""
    own = _clips_of_versions(session, dataset) | _clips_now(session, dataset)
    return own, own.keys() - needed_clips(session, without_dataset=dataset.id)


def _clips_now(session: Session, dataset: Dataset) -> dict[str, int]:
    rows = session.execute(
        select(DatasetClip.sha256, DatasetClip.size_bytes).where(DatasetClip.dataset_id == dataset.id)
    )
    return {row.sha256: row.size_bytes for row in rows}


def _clips_of_versions(session: Session, dataset: Dataset) -> dict[str, int]:
    versions = session.scalars(select(DatasetVersion.clips).where(DatasetVersion.dataset_id == dataset.id))
    return {clip["sha256"]: clip["size_bytes"] for clips in versions for clip in clips or []}


def _users(session: Session, dataset: Dataset) -> Sequence[Job]:
    """The newest jobs that use a dataset."""
    return session.scalars(select(Job).where(Job.dataset_id == dataset.id).order_by(Job.id.desc()).limit(_LINKS)).all()


def _used(session: Session, dataset: Dataset, users: Sequence[Job]) -> str:
    if not users:
        return ""
    count = _count(session, Job.dataset_id == dataset.id)
    numbers = ", ".join(str(job.id) for job in users)
    many = f"{count} jobs use" if count > 1 else "one job uses"
    more = " …" if count > _LINKS else ""
    return f"Dataset {dataset.name} stays because {many} it ({numbers}{more}): delete them first."


def _named(jobs: Sequence[Job]) -> str:
    numbers = ", ".join(str(job.id) for job in jobs[:_LINKS])
    return f"Job {numbers} waits" if len(jobs) == 1 else f"Jobs {numbers} wait"


def _links(jobs: Sequence[Job]) -> list[JobLink]:
    return [JobLink(id=job.id, name=job.name, state=JobState(job.state)) for job in jobs[:_LINKS]]


def _count(session: Session, *where: ColumnElement[bool] | InstrumentedAttribute[bool]) -> int:
    return session.scalar(select(func.count()).where(*where)) or 0
