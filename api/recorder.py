"""The recorder: reads the jobs' streams, commits what is new to the record, then trims them.

Pub/sub wakes it; every few seconds it looks at all streams anyway, so that a lost message costs time, not truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from sqlalchemy import select
from typing_extensions import override

from api.background import Background, progressed
from api.record.attempts import record_events
from api.record.database import Database
from api.record.tables import Job
from shared.event_bus import PAGE, EventBus
from shared.events import Event

_SWEEP_S: Final = 5.0
_PAUSE_S: Final = 0.05
_GATHER_S: Final = 0.3
"""Events that change nothing but numbers are recorded so often: one commit for many costs little more than for one."""
_TOGETHER: Final = 100
"""Jobs whose events are committed together."""

log = structlog.get_logger(__name__)


class Recorded(Protocol):
    """Who wants to know of a job whose row changed; `moved` says that its state did."""

    def __call__(self, job_id: int, *, moved: bool) -> None: ...


class Recorder(Background):
    """Moves events from Redis to the record. `recorded` is called after events of a job came into it.

    `seen` gets the job's row and the events, to count them.
    """

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        recorded: Recorded,
        *,
        seen: Callable[[Job, Sequence[Event]], None] = lambda _job, _events: None,
    ) -> None:
        super().__init__("recorder", every_s=_GATHER_S, pause_s=_PAUSE_S)
        self._database = database
        self._bus = bus
        self._recorded = recorded
        self._seen = seen
        self._dirty: set[int] = set()
        self._dirty_lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._swept_at = float("-inf")

    def came(self, job_id: int, *, is_urgent: bool = True) -> None:
        """The job's stream has something new, which waits a little for more unless it is urgent."""
        with self._dirty_lock:
            self._dirty.add(job_id)
        if is_urgent:
            self.wake()

    def drain(self, job_id: int) -> None:
        """Record all that the job's stream holds; raises redis.RedisError while Redis is away."""
        while self._record([job_id]):
            pass

    def _record(self, job_ids: Sequence[int]) -> list[int]:
        """Record what is new of these jobs in one transaction; returns those that may have more."""
        with self._one_at_a_time:
            with self._database.reading() as session:
                rows = session.execute(select(Job.id, Job.last_number, Job.state).where(Job.id.in_(job_ids)))
                before = {row.id: (row.last_number or 0, row.state) for row in rows}
            after = {job_id: before.get(job_id, (0, ""))[0] for job_id in job_ids}
            new = {job_id: events for job_id, events in self._bus.read(after).items() if events}
            recorded: Mapping[int, Job] = {}
            if new:
                with self._database.session() as session:
                    recorded = record_events(session, new)
            progressed()
            # Told before Redis is asked for anything: what is in the record is not told of again.
            for job_id, job in recorded.items():
                self._seen(job, new[job_id])
                self._recorded(job_id, moved=job.state != before.get(job_id, (0, ""))[1])
            self._bus.forget(after | {job_id: events[-1].number for job_id, events in new.items()})
        return [job_id for job_id, events in new.items() if len(events) >= PAGE]

    @override
    def work(self) -> None:
        """Record what is new. A job whose events cannot be recorded keeps no other job from it."""
        with self._dirty_lock:
            jobs, self._dirty = self._dirty, set()
        troubles: list[Exception] = []
        try:
            if time.monotonic() - self._swept_at >= _SWEEP_S:
                jobs |= self._bus.streams()
                self._swept_at = time.monotonic()
        except Exception as error:
            troubles.append(error)
        ordered = sorted(jobs)
        for start in range(0, len(ordered), _TOGETHER):
            chunk = ordered[start : start + _TOGETHER]
            try:
                chunk = self._record(chunk)
            except Exception as error:  # one of them cannot be recorded: which one shows when each is on its own
                log.warning("recorder.one_by_one", jobs=len(chunk), error=str(error))
            for job_id in chunk:
                try:
                    self.drain(job_id)
                except Exception as error:
                    troubles.append(error)
                    with self._dirty_lock:
                        self._dirty.add(job_id)
        if troubles:
            raise troubles[0]
