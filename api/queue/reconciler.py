"""Keeping Redis true to the record: attempts at work are looked after until they end.

an attempt that nobody claimed gets its ticket again; wishes are written again; unwanted ones end
an attempt whose lease lapsed, or whose worker is another process now, goes back to the queue
a job whose hours ended, or whose machine somebody else wants, is handed back
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import structlog
from redis import Redis
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from api.queue.fitting import Needs, WorkerFacts, holds_much, is_open, is_wanted_back
from api.record.attempts import attempt_spec, hand_back, take_back
from api.record.database import Database
from api.record.tables import Job, Token, Worker
from api.recorder import Recorder
from shared.control import Controls, Wish
from shared.events import WorkerHeartbeat
from shared.jobs import ACTIVE, AttemptSpec, JobState
from shared.lease import Leases, LeaseStatus

_UNCLAIMED_S: Final = 5.0
"""A ticket that nobody claimed for so long is sent again."""
_ABANDONED_S: Final = 20.0
"""An attempt that nobody claimed for so long goes back to the queue."""
_LAPSED_S: Final = 4.0
"""A lease must have lapsed for so long before its attempt is taken back."""
_BUSY_LEASES: Final = 2.0
"""The same, in lease times, where its worker still says that it is busy with the job."""
_DEAF_S: Final = 120.0
"""For so long a worker that did not take a job is given another one only when no other worker is free."""
_AFTER_RESTART_LEASES: Final = 2.0
"""After Redis came back, lapsed leases are left alone for so many lease times: their owners renew them first."""
_WANTED_BACK_S: Final = 30.0
"""Other programs must have wanted the machine for so long before a job makes way: a blip is none."""

AT_WORK: Final = Job.state.in_([state.value for state in ACTIVE])
"""The jobs that have a worker."""
_BUSY: Final = select(Job.worker, Job.id).where(AT_WORK)
_BUSY_AMONG: Final = _BUSY.where(Job.worker.in_(bindparam("workers", expanding=True)))
_ACTIVE: Final = select(
    Job.id,
    Job.attempt,
    Job.state,
    Job.worker,
    Job.secret,
    Job.wish,
    Job.needs,
    Job.assigned_at,
    Job.ticket_at,
).where(AT_WORK)
_ACTIVE_AMONG: Final = _ACTIVE.where(Job.id.in_(bindparam("ids", expanding=True)))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """What is looked at of a job with an attempt at work."""

    id: int
    attempt: int
    state: JobState
    worker: str
    secret: str
    wish: str
    needs: str
    """Hash of what it needs."""
    assigned_at: float
    ticket_at: float


def read_busy(session: Session, workers: Collection[str] | None = None) -> dict[str, int]:
    """The workers that have a job, and which one: all or those among `workers`."""
    rows = session.execute(_BUSY) if workers is None else session.execute(_BUSY_AMONG, {"workers": list(workers)})
    return {row.worker: row.id for row in rows}


def read_active(session: Session, job_ids: Collection[int] | None = None) -> list[Active]:
    """The jobs that have a worker, all or those among `job_ids`."""
    rows = session.execute(_ACTIVE) if job_ids is None else session.execute(_ACTIVE_AMONG, {"ids": list(job_ids)})
    return [
        Active(
            id=row.id,
            attempt=row.attempt,
            state=JobState(row.state),
            worker=row.worker,
            secret=row.secret,
            wish=row.wish,
            needs=row.needs,
            assigned_at=row.assigned_at or 0.0,
            ticket_at=row.ticket_at or 0.0,
        )
        for row in rows
    ]


class Reconciler:
    """`send` puts an attempt on its way to a worker; it is told the number of the job's newest event.

    `changed` is called with the id of a job whose row changed.
    """

    def __init__(
        self,
        *,
        database: Database,
        redis: Redis,
        recorder: Recorder,
        lease_s: float,
        send: Callable[[AttemptSpec, str, int], bool],
        changed: Callable[[int], None],
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._lease_s = lease_s
        self._send = send
        self._changed = changed
        self._leases = Leases(redis)
        self._controls = Controls(redis)
        self._reap_after = 0.0
        self._lapsed_since: dict[int, float] = {}
        self._wanted_since: dict[int, float] = {}
        self._deaf_until: dict[str, float] = {}

    def redis_restarted(self) -> None:
        """Leave lapsed leases alone for a while."""
        self._reap_after = time.monotonic() + _AFTER_RESTART_LEASES * self._lease_s

    def deaf(self) -> frozenset[str]:
        """Workers that did not take what they were given, a while ago: others are preferred."""
        now = time.monotonic()
        return frozenset(name for name, until in self._deaf_until.items() if until > now)

    def reconcile(self, active: Sequence[Active], online: Mapping[str, WorkerHeartbeat]) -> None:
        """Make Redis agree with the rows of active jobs, or take their attempts back."""
        statuses = self._leases.statuses([job.id for job in active])
        troubles: list[Exception] = []
        for job in active:
            # One job that cannot be reconciled must not keep the others from their devices.
            try:
                self._one(job, statuses[job.id], online)
            except Exception as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def forget_ended(self, active: Collection[Active]) -> None:
        """Drop what was noted of attempts that are not at work any more; `active` are all that are."""
        ids = {job.id for job in active}
        self._lapsed_since = {key: since for key, since in self._lapsed_since.items() if key in ids}
        self._wanted_since = {key: since for key, since in self._wanted_since.items() if key in ids}

    def make_way(
        self,
        active: Sequence[Active],
        workers: Mapping[str, WorkerFacts],
        needs_of: Callable[[str], Needs | None],
        minute: int,
    ) -> None:
        """Hand back running jobs that may not run now."""
        now = time.monotonic()
        for job in active:
            needs = needs_of(job.needs)
            if needs is None or job.wish != "none":
                continue
            reason = ""
            if not is_open(needs.placement.hours, minute) and needs.placement.hours is not None:
                reason = f"Its hours ended at {needs.placement.hours.end}."
            elif needs.placement.only_when_idle and (worker := workers.get(job.worker)) is not None:
                if not is_wanted_back(worker):
                    self._wanted_since.pop(job.id, None)
                elif now - self._wanted_since.setdefault(job.id, now) >= _WANTED_BACK_S:
                    reason = _wanted_back_words(worker)
            if reason:
                self._hand_back(job, reason)

    def _hand_back(self, job: Active, reason: str) -> None:
        with self._database.session() as session:
            row = _row(session, job)
            if row is None or not hand_back(session, row, reason=reason):
                return
        log.info("attempt.handed_back", job=job.id, attempt=job.attempt, reason=reason)
        self._controls.wish(job.id, job.attempt, "hand_back")
        self._changed(job.id)

    def _one(self, job: Active, lease: LeaseStatus, online: Mapping[str, WorkerHeartbeat]) -> None:
        if lease.granted < job.attempt:
            # Redis lost its newest seconds; whoever runs the attempt proves itself and renews the lease next.
            self._leases.grant(job.id, job.attempt, job.worker, job.secret)
        waited_s = time.time() - job.ticket_at
        abandoned = time.time() - job.assigned_at > _ABANDONED_S
        settled = time.monotonic() > self._reap_after
        if lease.claimed >= job.attempt:
            if job.wish != "none":
                self._controls.wish(job.id, job.attempt, cast(Wish, job.wish))
            if _replaced(job, lease, online):
                self._lost(job, f"{job.worker} was started anew, so the job was taken back.")
            elif self._lapsed(job, lease, online):
                self._lost(job, self._why_silent(job.worker))
        elif _runs(job, online) or (job.state != JobState.STARTING and not settled):
            return  # Redis forgot the claim; the next renewal brings it back
        elif job.wish != "none":
            self._lost(job, "")  # nobody claimed it, and now nobody shall
        elif settled and (abandoned or (job.worker not in online and waited_s > _UNCLAIMED_S)):
            self._deaf_until[job.worker] = time.monotonic() + _DEAF_S
            self._lost(job, f"{job.worker} did not take the job.")
        elif waited_s > _UNCLAIMED_S:
            with self._database.session() as session:
                row = _row(session, job)
                if row is None or row.state != JobState.STARTING:
                    return
                row.ticket_at = time.time()
                attempt, last_number = attempt_spec(session, row), row.last_number or 0
            self._send(attempt, job.worker, last_number)

    def _lapsed(self, job: Active, lease: LeaseStatus, online: Mapping[str, WorkerHeartbeat]) -> bool:
        """Whether the holder of the lease is gone.

        After a suspended laptop wakes, or Redis comes back, all leases have lapsed and all workers are there: so a
        lease must stay lapsed for a while, and longer where a worker says that it is busy with the job.
        """
        if lease.left_s >= 0:
            self._lapsed_since.pop(job.id, None)
            return False
        now = time.monotonic()
        lapsed_s = now - self._lapsed_since.setdefault(job.id, now)
        patience_s = _BUSY_LEASES * self._lease_s if _runs(job, online) else _LAPSED_S
        return lapsed_s > patience_s and now > self._reap_after

    def _why_silent(self, worker: str) -> str:
        """Why nothing is heard of a worker: what somebody here did to it, where it was that."""
        with self._database.reading() as session:
            row = session.execute(
                select(Worker.redis_sha256, Token.revoked_at, Token.expires_at)
                .join(Token, Token.id == Worker.token_id)
                .where(Worker.name == worker)
            ).first()
        if row is not None and row.revoked_at is not None:
            return f"The token of {worker} was revoked, so the job goes on elsewhere."
        if row is not None and row.expires_at is not None and row.expires_at <= time.time():
            return f"The token of {worker} has expired, so the job goes on elsewhere."
        if row is not None and not row.redis_sha256:
            return f"{worker} was removed, so the job goes on elsewhere."
        return f"{worker} went silent, so the job was taken back."

    def _lost(self, job: Active, reason: str) -> None:
        """Take the attempt back, unless its end is on its way in the stream.

        The fence goes up first: from then on, whatever the old attempt still does is refused, and a worker that still
        runs it ends it. What it had said before counts.
        """
        self._leases.grant(job.id, job.attempt + 1, "")
        self._recorder.drain(job.id)
        self._lapsed_since.pop(job.id, None)
        with self._database.session() as session:
            row = _row(session, job)
            if row is None or JobState(row.state) not in ACTIVE:
                return
            log.warning("attempt.lost", job=job.id, attempt=job.attempt, worker=job.worker, reason=reason)
            take_back(session, row, reason=reason)
        self._changed(job.id)


def _row(session: Session, job: Active) -> Job | None:
    """The row of a job; None where it has another attempt by now, or is gone."""
    row = session.get(Job, job.id)
    return row if row is not None and row.attempt == job.attempt else None


def _replaced(job: Active, lease: LeaseStatus, online: Mapping[str, WorkerHeartbeat]) -> bool:
    """Whether the worker of that name is another process than the one that holds the lease."""
    holder = online.get(job.worker)
    return holder is not None and lease.pid not in (0, holder.pid)


def _runs(job: Active, online: Mapping[str, WorkerHeartbeat]) -> bool:
    """Whether the job's worker says that it is busy with it."""
    holder = online.get(job.worker)
    return holder is not None and holder.job_id == job.id


def _wanted_back_words(worker: WorkerFacts) -> str:
    if holds_much(worker):
        return f"Other programs need the memory of {worker.place}."
    return f"Other programs use {(worker.others_load or 0.0) * 100:.0f} % of {worker.host}."
