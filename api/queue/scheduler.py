"""The scheduler: gives each free device the first job that fits, and keeps Redis true to the record.

One thread. Each round, in this order:
  reconcile  an attempt that nobody claimed gets its ticket again; wishes are written again; unwanted ones end
  reap       an attempt whose lease lapsed goes back to the queue
  assign     free workers get the first waiting job that fits
  explain    every job that still waits says why
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import override

from api.background import Background
from api.record.attempts import assign, attempt_spec, take_back
from api.record.database import Database
from api.record.rows import find
from api.record.tables import Job
from api.recorder import Recorder
from shared.control import Controls, Wish
from shared.devices import parse_device
from shared.errors import TransitionError
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat
from shared.jobs import ACTIVE, AttemptSpec, JobState, Ticket
from shared.lease import Leases, LeaseStatus
from shared.tickets import make_celery, put_attempt, send_ticket

_ROUND_S: Final = 2.0
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

log = structlog.get_logger(__name__)


class Scheduler(Background):
    """`changed` is called with the id of a job whose row changed."""

    def __init__(
        self,
        *,
        database: Database,
        redis: Redis,
        redis_url: str,
        bus: EventBus,
        recorder: Recorder,
        lease_s: float,
        changed: Callable[[int], None],
    ) -> None:
        super().__init__("scheduler", every_s=_ROUND_S)
        self._database = database
        self._redis = redis
        self._celery = make_celery(redis_url)
        self._bus = bus
        self._recorder = recorder
        self._lease_s = lease_s
        self._changed = changed
        self._leases = Leases(redis)
        self._controls = Controls(redis)
        self._run_id = ""
        self._reap_after = 0.0
        self._lapsed_since: dict[int, float] = {}
        self._given_to: dict[tuple[int, int], int] = {}
        """Process that each attempt was given to, as far as this api did it; else the lease has to lapse."""
        self._deaf_until: dict[str, float] = {}
        """Workers that did not take what they were given, until when others are preferred."""

    @override
    def work(self) -> None:
        """Look at everything once; raises redis.RedisError while Redis is away."""
        self._notice_restart()
        online = {worker.name: worker for worker in self._bus.workers()}
        with self._database.reading() as session:
            active = list(session.scalars(select(Job).where(Job.state.in_([state.value for state in ACTIVE]))))
        at_work = {(job.id, job.attempt) for job in active}
        self._given_to = {key: pid for key, pid in self._given_to.items() if key in at_work}
        troubles: list[Exception] = []
        for job in active:
            # One job that cannot be reconciled must not keep the others from their devices.
            try:
                self._reconcile(job, online)
            except Exception as error:
                troubles.append(error)
        self._assign(online)
        if troubles:
            raise troubles[0]

    def _notice_restart(self) -> None:
        """After Redis started anew it may have lost its last second: numbers and leases need care."""
        run_id = str(self._redis.info("server")["run_id"])
        if run_id == self._run_id:
            return
        first_look, self._run_id = not self._run_id, run_id
        with self._database.reading() as session:
            jobs = list(session.execute(select(Job.id, Job.last_number).where(Job.state.not_in(["completed"]))))
        for job_id, last_number in jobs:
            self._bus.raise_floor(job_id, last_number or 0)
        if not first_look:
            log.warning("redis.restarted")
            self._reap_after = time.monotonic() + _AFTER_RESTART_LEASES * self._lease_s

    def _reconcile(self, job: Job, online: dict[str, WorkerHeartbeat]) -> None:
        """Make Redis agree with an active job's row, or take its attempt back."""
        lease = self._leases.status(job.id)
        if lease.granted < job.attempt:
            # Redis lost its newest seconds; whoever runs the attempt proves itself and renews the lease next.
            self._leases.grant(job.id, job.attempt, job.worker, job.secret)
        waited_s = time.time() - (job.ticket_at or 0.0)
        abandoned = time.time() - (job.assigned_at or 0.0) > _ABANDONED_S
        if lease.claimed >= job.attempt:
            if job.wish != "none":
                self._controls.wish(job.id, job.attempt, cast(Wish, job.wish))
            if self._replaced(job, online):
                self._lost(job, f"{job.worker} was started anew, so the job was taken back.")
            elif self._lapsed(job, lease, online):
                self._lost(job, f"{job.worker} went silent, so the job was taken back.")
        elif job.wish != "none":
            self._lost(job, "")  # nobody claimed it, and now nobody shall
        elif _runs(job, online):
            return  # Redis forgot the claim; the next renewal brings it back
        elif abandoned or (job.worker not in online and waited_s > _UNCLAIMED_S):
            self._deaf_until[job.worker] = time.monotonic() + _DEAF_S
            self._lost(job, f"{job.worker} did not take the job.")
        elif waited_s > _UNCLAIMED_S:
            with self._database.session() as session:
                row = find(session, job.id)
                if row.attempt != job.attempt or row.state != JobState.STARTING:
                    return
                row.ticket_at = time.time()
                attempt = attempt_spec(session, row)
            self._send(attempt, job.worker)

    def _replaced(self, job: Job, online: dict[str, WorkerHeartbeat]) -> bool:
        """Whether the worker of that name is another process than the one that the job was given to."""
        holder, pid = online.get(job.worker), self._given_to.get((job.id, job.attempt))
        return holder is not None and pid is not None and holder.pid != pid

    def _lapsed(self, job: Job, lease: LeaseStatus, online: dict[str, WorkerHeartbeat]) -> bool:
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

    def _lost(self, job: Job, reason: str) -> None:
        """Take the attempt back, unless its end is on its way in the stream.

        The fence goes up before the record changes: from then on, whatever the old attempt still does is refused,
        and a worker that still runs it ends it.
        """
        self._recorder.drain(job.id)
        self._lapsed_since.pop(job.id, None)
        self._given_to.pop((job.id, job.attempt), None)
        self._leases.grant(job.id, job.attempt + 1, "")
        with self._database.session() as session:
            row = find(session, job.id)
            if row.attempt != job.attempt or JobState(row.state) not in ACTIVE:
                return
            log.warning("attempt.lost", job=job.id, attempt=job.attempt, worker=job.worker, reason=reason)
            take_back(session, row, reason=reason)
        self._changed(job.id)

    def _assign(self, online: dict[str, WorkerHeartbeat]) -> None:
        with self._database.reading() as session:
            busy = set(session.scalars(select(Job.worker).where(Job.state.in_([state.value for state in ACTIVE]))))
            waiting = _waiting(session)
        free = [worker for worker in online.values() if worker.state == "idle" and worker.name not in busy]
        now = time.monotonic()
        free.sort(key=lambda worker: (self._deaf_until.get(worker.name, 0.0) > now, worker.name))
        for job in waiting:
            worker = next((each for each in free if parse_device(each.device.name).fits(job.wanted_device)), None)
            if worker is None:
                self._explain(job, online)
                continue
            free.remove(worker)
            self._give(job, worker)

    def _give(self, job: Job, worker: WorkerHeartbeat) -> None:
        newest = self._leases.grant(job.id, (job.attempt or 0) + 1, worker.name)
        with self._database.session() as session:
            row = find(session, job.id)
            if row.state != JobState.QUEUED:
                return
            try:
                attempt = assign(session, row, worker=worker.name, device=worker.device.name, above=newest - 1)
            except TransitionError:
                return
        self._given_to[job.id, attempt.attempt] = worker.pid
        self._send(attempt, worker.name)
        self._changed(job.id)

    def _send(self, attempt: AttemptSpec, worker: str) -> None:
        self._leases.grant(attempt.job_id, attempt.attempt, worker, attempt.secret)
        put_attempt(self._redis, worker, attempt)
        send_ticket(self._celery, worker, Ticket(job_id=attempt.job_id, attempt=attempt.attempt))
        log.info("ticket.sent", job=attempt.job_id, attempt=attempt.attempt, worker=worker)

    def _explain(self, job: Job, online: dict[str, WorkerHeartbeat]) -> None:
        reason = _why_it_waits(job, list(online.values()))
        # A job that came back keeps saying why, in front of what it waits for now.
        came_back = (job.reason or "").partition(" Waits")[0]
        full = f"{came_back} {reason}" if came_back and not came_back.startswith("Waits") else reason
        if full == job.reason:
            return
        with self._database.session() as session:
            row = find(session, job.id)
            if row.state != JobState.QUEUED:
                return
            row.reason = full
        self._changed(job.id)


def _runs(job: Job, online: dict[str, WorkerHeartbeat]) -> bool:
    """Whether the job's worker says that it is busy with it."""
    holder = online.get(job.worker)
    return holder is not None and holder.job_id == job.id


def _waiting(session: Session) -> Sequence[Job]:
    return list(session.scalars(select(Job).where(Job.state == JobState.QUEUED.value).order_by(Job.position, Job.id)))


def _why_it_waits(job: Job, online: list[WorkerHeartbeat]) -> str:
    fitting = [worker for worker in online if parse_device(worker.device.name).fits(job.wanted_device)]
    if not online:
        return "Waits for a worker: none is online."
    if not fitting:
        there = ", ".join(sorted({worker.device.name for worker in online}))
        return f"Waits for a worker with {job.wanted_device}: only {there} is online."
    busy = [worker for worker in fitting if worker.job_id is not None]
    if busy:
        others = ", ".join(f"{worker.name} is busy with job {worker.job_id}" for worker in busy[:3])
        return f"Waits for its turn: {others}."
    return "Waits for its turn."
