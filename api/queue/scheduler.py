"""The scheduler: gives each free device the first job that fits, and keeps Redis true to the record.

One thread. Each round, in this order:
  give out   free workers get the first waiting job that fits (`assignment` decides, `line` knows who waits,
             `dispatch` gives)
  reconcile  attempts at work are looked after (`reconciler`)
  explain    jobs whose reason to wait changed are shown anew (`explanations`)
A round that is woken does what its reason needs, and that at once; every two seconds everything is looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from redis import Redis
from sqlalchemy import select
from typing_extensions import override

from api.background import Background
from api.queue.assignment import decide
from api.queue.dispatch import Dispatch
from api.queue.explanations import Explanations, Other, Scene
from api.queue.fitting import WorkerFacts
from api.queue.line import Line
from api.queue.reconciler import AT_WORK, Reconciler, read_active, read_busy
from api.record.database import Database
from api.record.queue_settings import paused_at
from api.record.tables import Job
from api.recorder import Recorder
from api.workers.registry import Registry
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat
from shared.jobs import JobState

_ROUND_S: Final = 2.0
_PAUSE_S: Final = 0.02
_RELOAD_S: Final = 30.0
"""The line is read anew so often, in case that a change was not told."""
_YOUNG_S: Final = 60
"""A Redis that runs for less than so long may have just lost its newest second."""
_FEW: Final = 32
"""So many jobs that changed are looked after at once; more are left to the next look at everything."""
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
        bus: EventBus,
        recorder: Recorder,
        registry: Registry,
        dispatch: Dispatch,
        lease_s: float,
        changed: Callable[[int], None],
        shown: Callable[[int], None],
    ) -> None:
        super().__init__("scheduler", every_s=_ROUND_S, pause_s=_PAUSE_S)
        self._database = database
        self._redis = redis
        self._bus = bus
        self._registry = registry
        self._dispatch = dispatch
        self._shown = shown
        self._reconciler = Reconciler(
            database=database, redis=redis, recorder=recorder, lease_s=lease_s, send=dispatch.send, changed=changed
        )
        dispatch.deaf = self._reconciler.deaf
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
            self._dispatch.well_until = 0.0
            with self._dirty_lock:
                self._dirty |= dirty
            raise
        self._dispatch.well_until = time.monotonic() + 2 * _ROUND_S

    def _give_out(self, dirty: Collection[int]) -> bool:
        """Give free workers their jobs, by what is known; look after the jobs that changed. True where any was given.

        No time is spent on asking Redis who is there: heartbeats came over pub/sub.
        """
        online = self._registry.online()
        idle = {
            worker.name: worker
            for worker in self._registry.facts([beat for beat in online.values() if beat.job_id is None])
        }
        with self._database.reading() as session:
            free = [idle[name] for name in idle.keys() - read_busy(session, idle)]
            paused = paused_at(session) is not None
            if dirty:
                self._line.refresh(session, dirty)
        minute = self._dispatch.minute()
        given = False if paused else self._assign(online, free, minute)
        with self._database.reading() as session:
            busy = read_busy(session)
            active = read_active(session, dirty) if dirty and len(dirty) <= _FEW else []
        self._reconciler.reconcile(active, online)
        workers = self._registry.facts(online.values())
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
        self._reconciler.make_way(active, workers, self._line.needs, self._dispatch.minute())
        self._reconciler.reconcile(active, online)
        self._show()
        if online.keys() != before:
            self.wake()

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

    def _assign(self, online: Mapping[str, WorkerHeartbeat], free: Sequence[WorkerFacts], minute: int) -> bool:
        """Decide who of the free workers gets what, and give; returns whether any got a job."""
        decided = decide(free, self._line.groups(), minute=minute, last=self._reconciler.deaf())
        if not decided:
            return False
        given, broken = self._dispatch.give(decided, online, self._line.still_waits)
        ids = {each.job_id for each in decided}
        self._line.take(ids)
        for job_id in ids - {each.job_id for each in given} - broken:
            self.job_changed(job_id)
        return True

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
