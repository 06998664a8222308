"""The waiting jobs in memory: where each stands, what it needs, which jobs it waits for.

The record is the truth; this is a reading of it that follows change by change, so that a round of the scheduler costs
the same with ten thousand waiting jobs as with ten. Whoever acts on it looks at the job's row again.
"""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from api.queue.assignment import Group, Place
from api.queue.fitting import Needs
from api.record.tables import Job, JobDependency
from shared.jobs import ENDED, JobState
from shared.placement import Placement

_CHUNK = 500
"""Ids in one query."""
_NOT_ENDED: Final = sorted({*JobState} - ENDED)
_IDS: Final = bindparam("ids", expanding=True)
_UNMET: Final = (
    select(JobDependency.job_id, JobDependency.after_id)
    .join(Job, Job.id == JobDependency.after_id)
    .where(Job.state != JobState.COMPLETED.value)
)
_UNMET_OF: Final = _UNMET.where(JobDependency.job_id.in_(_IDS))
_DEPENDENTS: Final = select(JobDependency.job_id).where(JobDependency.after_id.in_(_IDS))
_QUEUED: Final = select(Job.id, Job.needs, Job.priority, Job.position).where(Job.state == JobState.QUEUED.value)
_AMONG: Final = select(Job.id, Job.needs, Job.priority, Job.position, Job.state).where(Job.id.in_(_IDS))
"""Whoever asks looks at the state: with a condition for it SQLite walks through all that wait."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A queued job."""

    place: Place
    needs: str
    """Hash of what it needs."""
    after: tuple[int, ...] = ()
    """Jobs that it waits for and that have not completed."""


class Line:
    """All queued jobs. One thread keeps it current; others may ask where a job stands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._ready: dict[str, list[Place]] = {}
        """Places of the jobs that wait for nothing but a worker, in order, by their needs."""
        self._needs: dict[str, Needs] = {}
        self._unreadable: set[str] = set()
        """Hashes of needs that this version cannot read."""

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, job_id: int) -> Waiting | None:
        """Where a job stands; None for one that does not wait."""
        with self._lock:
            return self._waiting.get(job_id)

    def needs(self, key: str) -> Needs | None:
        """What is behind a hash; None for one that no waiting or running job has had, and where it cannot be read."""
        return self._needs.get(key)

    def groups(self) -> list[Group]:
        """The jobs that wait for nothing but a worker, by their needs; without those whose needs cannot be read."""
        return [
            Group(needs=self._needs[key], places=places) for key, places in self._ready.items() if key in self._needs
        ]

    def ready_before(self, place: Place) -> dict[str, int]:
        """How many ready jobs stand before `place`, by their needs."""
        with self._lock:
            return {key: bisect_left(places, place) for key, places in self._ready.items()}

    def first(self, count: int) -> list[int]:
        """Ids of the first jobs in the queue's order."""
        with self._lock:
            return [place[2] for place in heapq.nsmallest(count, (each.place for each in self._waiting.values()))]

    def learn(self, session: Session, keys: Iterable[str]) -> None:
        """Read what is behind hashes that are not known yet."""
        for key in set(keys) - self._needs.keys() - self._unreadable:
            # The states are for the index: among all that ended it would be looked for row by row.
            wanted = select(Job.wanted_device, Job.placement).where(Job.state.in_(_NOT_ENDED), Job.needs == key)
            row = session.execute(wanted.limit(1)).first()
            if row is None:
                continue
            try:
                placement = Placement.model_validate(row.placement or {})
            except ValidationError:
                # Another version wrote it. Its jobs wait and say so; all others go on.
                log.exception("needs.unreadable", needs=key)
                self._unreadable.add(key)
                continue
            self._needs[key] = Needs(device=row.wanted_device, placement=placement)

    def reload(self, session: Session) -> None:
        """Read all that wait anew."""
        jobs = list(session.execute(_QUEUED))
        after = _unmet(session.execute(_UNMET))
        self.learn(session, (row.needs for row in jobs))
        with self._lock:
            self._waiting.clear()
            self._ready.clear()
            for job_id, needs, priority, position in jobs:
                self._put(job_id, needs, (-priority, position, job_id), after.get(job_id, ()))
            for places in self._ready.values():
                places.sort()

    def refresh(self, session: Session, changed: Collection[int]) -> None:
        """Read the jobs that changed, and those that wait for them, anew."""
        ids = set(changed)
        for chunk in _chunks(changed):
            ids.update(session.scalars(_DEPENDENTS, {"ids": chunk}))
        for chunk in _chunks(ids):
            rows = session.execute(_AMONG, {"ids": chunk})
            found = {row.id: row for row in rows if row.state == JobState.QUEUED}
            after = _unmet(session.execute(_UNMET_OF, {"ids": list(found)})) if found else {}
            self.learn(session, (row.needs for row in found.values()))
            with self._lock:
                for job_id in chunk:
                    self._drop(job_id)
                    row = found.get(job_id)
                    if row is not None:
                        place = (-row.priority, row.position, job_id)
                        self._put(job_id, row.needs, place, after.get(job_id, ()), keep_order=True)

    def still_waits(self, session: Session, job: Job) -> bool:
        """Whether the row of a job is as it stands in line, and nothing keeps it from its turn."""
        waiting = self._waiting.get(job.id)
        return (
            waiting is not None
            and job.state == JobState.QUEUED
            and job.needs == waiting.needs
            and session.execute(_UNMET_OF, {"ids": [job.id]}).first() is None
        )

    def take(self, job_ids: Iterable[int]) -> None:
        """Let jobs leave the line."""
        with self._lock:
            for job_id in job_ids:
                self._drop(job_id)

    def _put(self, job_id: int, needs: str, place: Place, after: tuple[int, ...], *, keep_order: bool = False) -> None:
        self._waiting[job_id] = Waiting(place=place, needs=needs, after=after)
        if after:
            return
        places = self._ready.setdefault(needs, [])
        if keep_order:
            insort(places, place)
        else:
            places.append(place)

    def _drop(self, job_id: int) -> None:
        waiting = self._waiting.pop(job_id, None)
        if waiting is None or waiting.after:
            return
        places = self._ready[waiting.needs]
        del places[bisect_left(places, waiting.place)]
        if not places:
            del self._ready[waiting.needs]


def _unmet(rows: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    after: dict[int, list[int]] = {}
    for job_id, after_id in rows:
        after.setdefault(job_id, []).append(after_id)
    return {job_id: tuple(sorted(ids)) for job_id, ids in after.items()}


def _chunks(ids: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
