"""Giving a job to a worker: the record first, then Redis, then the ticket.

    decided -> attempt in the record -> lease granted, specification left, ticket sent -> the worker claims
    a new job that nobody stands before -> the same, within the transaction that records it

Two give jobs away, the scheduler's round and whoever submits. Each looks at the workers' rows again inside the
transaction that writes, and writers take turns: no worker gets two jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Integer, bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.checkpoint_files import newest_stored_attempt
from api.queue.assignment import Assignment, Group, decide
from api.queue.fitting import Needs, WorkerFacts
from api.queue.reconciler import read_busy
from api.record.attempts import assign, take_back
from api.record.database import Database
from api.record.jobs import GiveNew
from api.record.tables import Job
from api.workers.registry import Registry
from shared.errors import SpectrainError
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat
from shared.jobs import ACTIVE, AttemptSpec, JobSpec, JobState, Ticket
from shared.lease import Leases
from shared.placement import Placement
from shared.storage import FolderStorage, Storage
from shared.tickets import make_celery, send_ticket

_AT_ONCE: Final = 32
"""Jobs that are given to workers in one transaction."""

_OTHERS: Final = (
    select(Job.state, Job.worker)
    .where(Job.state.in_([state.value for state in (*ACTIVE, JobState.QUEUED)]), Job.id != bindparam("id"))
    .limit(bindparam("count", type_=Integer))
)
"""Those at work, and one that waits."""

log = structlog.get_logger(__name__)


class Dispatch:
    """`changed` is called with the id of a job that was given away."""

    def __init__(
        self,
        *,
        database: Database,
        redis: Redis,
        redis_url: str,
        bus: EventBus,
        registry: Registry,
        storage: Storage,
        changed: Callable[[int], None],
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._database = database
        self._celery = make_celery(redis_url)
        self._bus = bus
        self._registry = registry
        self._storage = storage
        self._changed = changed
        self._clock = clock
        self._leases = Leases(redis)
        self.well_until = 0.0
        """Monotonic time until which the scheduler's rounds count as going well: else new jobs are left to them."""
        self.deaf: Callable[[], frozenset[str]] = frozenset
        """Workers that did not take what they were given, a while ago: others are preferred."""

    def minute(self) -> int:
        """Minutes since midnight, by the clock on the wall."""
        now = self._clock()
        return now.hour * 60 + now.minute

    def give(
        self,
        decided: Sequence[Assignment],
        online: Mapping[str, WorkerHeartbeat],
        still_waits: Callable[[Session, Job], bool],
    ) -> tuple[list[Assignment], set[int]]:
        """Give away what was decided; returns what was, and the jobs that cannot be given at all.

        A job whose row is not as it was known, or whose worker got another one meanwhile, is left where it is.
        """
        given: list[Assignment] = []
        broken: set[int] = set()
        for start in range(0, len(decided), _AT_ONCE):
            chunk = decided[start : start + _AT_ONCE]
            for assignment, attempt, last_number in self._write(chunk, online, still_waits, broken):
                self.send(attempt, assignment.worker, last_number)
                given.append(assignment)
                self._changed(assignment.job_id)
        return given, broken

    def look(self) -> GiveNew:
        """What gives a new job away at once: see who is there, outside of any transaction.

        Who writes must not wait for the registry, which writes while it keeps others waiting.
        """
        online = self._registry.online()
        return partial(self._give_new, online, self._registry.facts(online.values()))

    def _give_new(
        self,
        online: Mapping[str, WorkerHeartbeat],
        workers: Sequence[WorkerFacts],
        session: Session,
        job: Job,
        spec: JobSpec,
    ) -> Callable[[], None] | None:
        if job.state != JobState.QUEUED or time.monotonic() > self.well_until:
            return None
        if not isinstance(self._storage, FolderStorage):
            return None  # a store elsewhere takes its time, which other writers would wait for
        with session.no_autoflush:  # what tells of the job is written with what tells of its attempt
            rows = session.execute(_OTHERS, {"id": job.id, "count": len(online) + 1}).all()
            if len(rows) > len(online) or any(row.state == JobState.QUEUED for row in rows):
                return None
        busy = {row.worker for row in rows}
        free = [worker for worker in workers if worker.name not in busy]
        needs = Needs(device=job.wanted_device, placement=Placement.model_validate(job.placement or {}))
        group = Group(needs=needs, places=[(-job.priority, job.position, job.id)])
        decided = decide(free, [group], minute=self.minute(), last=self.deaf())
        if not decided:
            return None
        worker = decided[0].worker
        try:
            above = newest_stored_attempt(self._storage, job.id)
        except SpectrainError:
            return None
        attempt = assign(session, job, worker=worker, device=online[worker].device.name, above=above, new=spec)
        last_number = job.last_number or 0

        def send() -> None:
            try:
                if not self.send(attempt, worker, last_number):
                    self._withdraw(attempt)
            except (RedisError, OperationalError, SQLAlchemyError) as error:
                # As after any ticket that nobody claims, the scheduler sends it again, or takes the job back.
                log.warning("ticket.not_sent", job=attempt.job_id, attempt=attempt.attempt, error=str(error))

        return send

    def _withdraw(self, attempt: AttemptSpec) -> None:
        """Take a new job back that Redis has a lease of: the record is a restored one, older than Redis.

        The scheduler's round asks Redis first and numbers the next attempt above all that it knows.
        """
        with self._database.session() as session:
            row = session.get(Job, attempt.job_id)
            if row is not None and row.attempt == attempt.attempt and row.state == JobState.STARTING:
                take_back(session, row, reason="")
        log.warning("ticket.outdated", job=attempt.job_id, attempt=attempt.attempt)

    def send(self, attempt: AttemptSpec, worker: str, last_number: int) -> bool:
        """Put an attempt on its way to `worker`, again or for the first time; raises RedisError, OperationalError.

        `last_number` is that of the job's newest event: Redis may have lost its newest second. False where Redis knows
        another attempt in its place.
        """
        if last_number:
            self._bus.raise_floor(attempt.job_id, last_number)
        if not self._leases.offer(attempt, worker):
            return False
        send_ticket(self._celery, worker, Ticket(job_id=attempt.job_id, attempt=attempt.attempt))
        log.info("ticket.sent", job=attempt.job_id, attempt=attempt.attempt, worker=worker)
        return True

    def _write(
        self,
        decided: Sequence[Assignment],
        online: Mapping[str, WorkerHeartbeat],
        still_waits: Callable[[Session, Job], bool],
        broken: set[int],
    ) -> list[tuple[Assignment, AttemptSpec, int]]:
        """Write down who got what, in one transaction; the numbers are those of the jobs' newest events."""
        above = self._above([each.job_id for each in decided])
        given: list[tuple[Assignment, AttemptSpec, int]] = []
        with self._database.session() as session:
            busy = read_busy(session, {each.worker for each in decided})
            for each in decided:
                row = session.get(Job, each.job_id)  # None: it was deleted meanwhile
                if row is None or each.worker in busy or not still_waits(session, row):
                    continue
                device = online[each.worker].device.name
                try:
                    attempt = assign(session, row, worker=each.worker, device=device, above=above[each.job_id])
                except (ValidationError, SpectrainError):
                    # Another version may have written it. It costs the others nothing, and is tried with the next line.
                    log.exception("job.unreadable", job=each.job_id)
                    broken.add(each.job_id)
                    continue
                given.append((each, attempt, row.last_number or 0))
        return given

    def _above(self, job_ids: Sequence[int]) -> dict[int, int]:
        """What the number of a new attempt must exceed: the record may be a restored one, older than all else.

        In Redis a fence, put up where an attempt was lost, is free to be used; an attempt that was claimed is not.
        """
        return {
            job_id: max(lease.granted - 1, lease.claimed, newest_stored_attempt(self._storage, job_id))
            for job_id, lease in self._leases.statuses(job_ids).items()
        }
