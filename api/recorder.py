"""The recorder: reads the jobs' streams, commits what is new to the record, then trims them.

Pub/sub wakes it; every few seconds it looks at all streams anyway, so that a lost message costs time, not truth.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from sqlalchemy import select
from typing_extensions import override

from api.background import Background
from api.record.attempts import record_events
from api.record.database import Database
from api.record.tables import Job
from shared.event_bus import EventBus

_SWEEP_S: Final = 5.0
_PAUSE_S: Final = 0.05


class Recorded(Protocol):
    """Who wants to know of a job whose row changed; `moved` says that its state did."""

    def __call__(self, job_id: int, *, moved: bool) -> None: ...


class Recorder(Background):
    """Moves events from Redis to the record. `recorded` is called after events of a job came into it."""

    def __init__(self, database: Database, bus: EventBus, recorded: Recorded) -> None:
        super().__init__("recorder", every_s=_SWEEP_S, pause_s=_PAUSE_S)
        self._database = database
        self._bus = bus
        self._recorded = recorded
        self._dirty: set[int] = set()
        self._dirty_lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._swept_at = float("-inf")

    def came(self, job_id: int) -> None:
        """The job's stream has something new."""
        with self._dirty_lock:
            self._dirty.add(job_id)
        self.wake()

    def drain(self, job_id: int) -> None:
        """Record all that the job's stream holds; raises redis.RedisError while Redis is away."""
        with self._one_at_a_time:
            while True:
                with self._database.reading() as session:
                    row = session.execute(select(Job.last_number, Job.state).where(Job.id == job_id)).first()
                after, state = (row[0] or 0, row[1]) if row else (0, "")
                events = self._bus.read(job_id, after=after)
                if not events:
                    self._bus.forget(job_id)
                    return
                with self._database.session() as session:
                    last = record_events(session, events)
                    job = session.get(Job, job_id)
                    moved = job is not None and job.state != state
                self._bus.trim(job_id, up_to=last)
                self._recorded(job_id, moved=moved)

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
        for job_id in sorted(jobs):
            try:
                self.drain(job_id)
            except Exception as error:
                troubles.append(error)
                with self._dirty_lock:
                    self._dirty.add(job_id)
        if troubles:
            raise troubles[0]
