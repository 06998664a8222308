"""The scheduler: gives each free device the first job that fits, and keeps Redis true to the record.

One thread. Each round, in this order:
  give out   free workers get the first waiting job that fits (`assignment` decides, `line` knows who waits)
  reconcile  attempts at work are looked after (`reconciler`)
  explain    jobs whose reason to wait changed are shown anew (`explanations`)
A round that is woken does what its reason needs, and that at once; every two seconds everything is looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError
from redis import Redis
from sqlalchemy import select
from typing_extensions import override

from api.background import Background
from api.checkpoint_files import newest_stored_attempt
from api.queue.assignment import Assignment, decide
from api.queue.explanations import Explanations, Other, Scene
from api.queue.fitting import WorkerFacts
from api.queue.line import Line
from api.queue.reconciler import AT_WORK, Reconciler, read_active, read_busy
from api.record.attempts import assign
from api.record.database import Database
from api.record.queue_settings import paused_at
from api.record.rows import find
from api.record.tables import Job
from api.recorder import Recorder
from api.workers.registry import Registry
from shared.errors import SpectrainError
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat
from shared.jobs import AttemptSpec, JobState, Ticket
from shared.lease import Leases
from shared.storage import Storage
from shared.tickets import make_celery, put_attempt, send_ticket

_ROUND_S: Final = 2.0
_PAUSE_S: Final = 0.02
_RELOAD_S: Final = 30.0
"""The line is read anew so often, in case that a change was not told."""
_YOUNG_S: Final = 60
"""A Redis that runs for less than so long may have just lost its newest second."""
_AT_ONCE: Final = 32
"""Jobs that are given to workers in one transaction."""
_SHOW_S: Final = 0.5
"""Time between two looks at why the first jobs wait."""
_SHOWN: Final = 50
"""So many of the first jobs are shown anew when why they wait changes; the others tell it when somebody looks."""

log = structlog.get_logger(__name__)


class Scheduler(Background):
    """`changed` is called with the id of a job whose row changed, `shown` where only its reason to wait did."""

    def __init__(
        self,
        *,
        database: Database,
        redis: Redis,
        redis_url: str,
        bus: EventBus,
        recorder: Recorder,
        registry: Registry,
        storage: Storage,
        lease_s: float,
        changed: Callable[[int], None],
        shown: Callable[[int], None],
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        super().__init__("scheduler", every_s=_ROUND_S, pause_s=_PAUSE_S)
        self._database = database
        self._redis = redis
        self._celery = make_celery(redis_url)
        self._bus = bus
        self._registry = registry
        self._storage = storage
        self._changed = changed
        self._shown = shown
        self._clock = clock
        self._leases = Leases(redis)
        self._reconciler = Reconciler(
            database=database, redis=redis, recorder=recorder, lease_s=lease_s, send=self._send, changed=changed
        )
        self._line = Line()
        self.explanations = Explanations(self._line, self._others)
        """Why jobs wait, as of the newest round."""
        self._run_id = ""
        self._dirty: set[int] = set()
        self._dirty_lock = threading.Lock()
        self._reload_at = 0.0
        self._looked_at = float("-inf")
        self._shown_at = float("-inf")
        self._told: dict[int, str] = {}

    def job_changed(self, job_id: int) -> None:
        """The row of a job changed: look at it, soon."""
        with self._dirty_lock:
            self._dirty.add(job_id)
        self.wake()

    @override
    def work(self) -> None:
        """One round; raises redis.RedisError while Redis is away."""
        with self._dirty_lock:
            dirty, self._dirty = self._dirty, set()
        try:
            if self._looked_at == float("-inf"):
                self._look_at_everything()
            try:
                given = self._give_out(dirty)
            finally:
                # Jobs at work are looked after, whatever keeps others from being given away.
                due = time.monotonic() - self._looked_at >= _ROUND_S
                if due:
                    self._look_at_everything()
            if not given and not due:
                self._show()  # a round that gives jobs away has no time for this
        except Exception:
            with self._dirty_lock:
                self._dirty |= dirty
            raise

    def _give_out(self, dirty: Collection[int]) -> bool:
        """Give free workers their jobs, by what is known; look after the jobs that changed. True where any was given.

        No time is spent on asking Redis who is there: heartbeats came over pub/sub.
        """
        online = self._registry.online()
        workers = self._registry.facts(online.values())
        with self._database.reading() as session:
            busy = read_busy(session)
            active = read_active(session, dirty) if dirty and len(dirty) <= _AT_ONCE else []
            paused = paused_at(session) is not None
            if dirty:
                self._line.refresh(session, dirty)
        minute = self._minute()
        given = False if paused else self._assign(online, workers, busy, minute)
        self._reconciler.reconcile(active, online)
        self.explanations.see(
            Scene(workers=workers, known=self._registry.names(), busy=busy, paused=paused, minute=minute)
        )
        return given

    def _look_at_everything(self) -> None:
        """Ask Redis who is there, look after every job at work, read the line anew from time to time."""
        self._notice_restart()
        before = self._registry.online().keys()
        online = self._registry.refresh()
        workers = {worker.name: worker for worker in self._registry.facts(online.values())}
        with self._database.reading() as session:
            active = read_active(session)
            if time.monotonic() >= self._reload_at:
                self._line.reload(session)
                self._reload_at = time.monotonic() + _RELOAD_S
            self._line.learn(session, (job.needs for job in active))
        self._looked_at = time.monotonic()
        self._reconciler.forget_ended(active)
        self._reconciler.make_way(active, workers, self._line.needs, self._minute())
        self._reconciler.reconcile(active, online)
        self._show()
        if online.keys() != before:
            self.wake()

    def _minute(self) -> int:
        """Minutes since midnight, by the clock on the wall."""
        now = self._clock()
        return now.hour * 60 + now.minute

    def _notice_restart(self) -> None:
        """After Redis started anew it may have lost its last second: numbers and leases need care."""
        server: dict[str, Any] = self._redis.info("server")
        run_id = str(server["run_id"])
        if run_id == self._run_id:
            return
        # It may have started anew while no api was there to see it.
        restarted = bool(self._run_id) or int(server["uptime_in_seconds"]) < _YOUNG_S
        with self._database.reading() as session:
            numbers = list(session.execute(select(Job.id, Job.last_number).where(AT_WORK)))
        for job_id, last_number in numbers:
            self._bus.raise_floor(job_id, last_number or 0)
        if restarted:
            log.warning("redis.restarted")
            self._reconciler.redis_restarted()
        self._run_id = run_id

    def _assign(
        self,
        online: Mapping[str, WorkerHeartbeat],
        workers: Sequence[WorkerFacts],
        busy: dict[str, int],
        minute: int,
    ) -> bool:
        """Decide, and give; `busy` grows by the workers that got a job. Returns whether any did."""
        free = [worker for worker in workers if worker.name not in busy]
        decided = decide(free, self._line.groups(), minute=minute, last=self._reconciler.deaf())
        for start in range(0, len(decided), _AT_ONCE):
            chunk = decided[start : start + _AT_ONCE]
            for assignment, attempt, last_number in self._give(chunk, online):
                busy[assignment.worker] = assignment.job_id
                self._send(attempt, assignment.worker, last_number)
                self._changed(assignment.job_id)
        return bool(decided)

    def _give(
        self, decided: Sequence[Assignment], online: Mapping[str, WorkerHeartbeat]
    ) -> list[tuple[Assignment, AttemptSpec, int]]:
        """Write down who got what, in one transaction; the numbers are those of the jobs' newest events.

        A job whose row is not as the line had it gets nobody.
        """
        above = self._above([each.job_id for each in decided])
        given: list[tuple[Assignment, AttemptSpec, int]] = []
        broken: set[int] = set()
        with self._database.session() as session:
            for each in decided:
                row = find(session, each.job_id)
                if not self._line.still_waits(session, row):
                    continue
                device = online[each.worker].device.name
                try:
                    with session.begin_nested():
                        attempt = assign(session, row, worker=each.worker, device=device, above=above[each.job_id])
                except (ValidationError, SpectrainError):
                    # Another version may have written it. It costs the others nothing, and is tried with the next line.
                    log.exception("job.unreadable", job=each.job_id)
                    broken.add(each.job_id)
                    continue
                given.append((each, attempt, row.last_number or 0))
        ids = {each.job_id for each in decided}
        self._line.take(ids)
        for job_id in ids - {each.job_id for each, *_ in given} - broken:
            self.job_changed(job_id)
        return given

    def _above(self, job_ids: Sequence[int]) -> dict[int, int]:
        """What the number of a new attempt must exceed: the record may be a restored one, older than all else.

        In Redis a fence, put up where an attempt was lost, is free to be used; an attempt that was claimed is not.
        """
        return {
            job_id: max(lease.granted - 1, lease.claimed, newest_stored_attempt(self._storage, job_id))
            for job_id, lease in self._leases.statuses(job_ids).items()
        }

    def _send(self, attempt: AttemptSpec, worker: str, last_number: int) -> None:
        # Redis may have lost its newest second, with a number that the record has.
        self._bus.raise_floor(attempt.job_id, last_number)
        self._leases.grant(attempt.job_id, attempt.attempt, worker, attempt.secret)
        put_attempt(self._redis, worker, attempt)
        send_ticket(self._celery, worker, Ticket(job_id=attempt.job_id, attempt=attempt.attempt))
        log.info("ticket.sent", job=attempt.job_id, attempt=attempt.attempt, worker=worker)

    def _show(self) -> None:
        """Have the first jobs shown anew where why they wait changed."""
        if time.monotonic() - self._shown_at < _SHOW_S:
            return
        self._shown_at = time.monotonic()
        told = {job_id: self.explanations.why(job_id, JobState.QUEUED) for job_id in self._line.first(_SHOWN)}
        for job_id, sentence in told.items():
            if self._told.get(job_id) != sentence:
                self._shown(job_id)
        self._told = told

    def _others(self, job_ids: Sequence[int]) -> dict[int, Other]:
        with self._database.reading() as session:
            rows = session.execute(select(Job.id, Job.name, Job.state, Job.summary).where(Job.id.in_(job_ids)))
            return {
                row.id: Other(id=row.id, name=row.name, state=JobState(row.state), eta_s=row.summary.get("eta_s"))
                for row in rows
            }
