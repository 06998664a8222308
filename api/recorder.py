"""The recorder: reads the jobs' streams, commits what is new to the record, then trims them.

Pub/sub wakes it; every few seconds it looks at all streams anyway, so that a lost message costs time, not truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.record.attempts import record_events
from api.record.database import Database
from api.record.tables import Job
from shared.errors import SpectrainError
from shared.event_bus import EventBus
from shared.jobs import ENDED

_SWEEP_S = 5.0
_PAUSE_S = 0.05
"""Shortest time between two rounds: what comes meanwhile is committed together."""

log = structlog.get_logger(__name__)


class Recorder:
    """Moves events from Redis to the record. `recorded` is called with the id of a job whose row changed."""

    def __init__(self, database: Database, bus: EventBus, recorded: Callable[[int], None]) -> None:
        self._database = database
        self._bus = bus
        self._recorded = recorded
        self._dirty: set[int] = set()
        self._dirty_lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it; what is left in the streams is recorded after the next start."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def wake(self, job_id: int) -> None:
        """The job's stream has something new."""
        with self._dirty_lock:
            self._dirty.add(job_id)
        self._wake.set()

    def drain(self, job_id: int) -> None:
        """Record all that the job's stream holds; raises redis.RedisError while Redis is away."""
        with self._one_at_a_time:
            while True:
                with self._database.reading() as session:
                    row = session.execute(select(Job.last_number, Job.state).where(Job.id == job_id)).first()
                after, state = (row[0] or 0, row[1]) if row else (0, "")
                events = self._bus.read(job_id, after=after)
                if not events:
                    if not row or state in ENDED:
                        self._bus.forget(job_id)
                    return
                with self._database.session() as session:
                    last = record_events(session, events)
                self._bus.trim(job_id, up_to=last)
                self._recorded(job_id)

    def _run(self) -> None:
        away = False
        swept_at = float("-inf")
        while not self._closed.is_set():
            self._wake.wait(max(0.0, swept_at + _SWEEP_S - time.monotonic()))
            self._wake.clear()
            with self._dirty_lock:
                jobs, self._dirty = self._dirty, set()
            try:
                if time.monotonic() - swept_at >= _SWEEP_S:
                    jobs |= self._bus.streams()
                    swept_at = time.monotonic()
                for job_id in sorted(jobs):
                    self.drain(job_id)
                away = False
            except (RedisError, SQLAlchemyError, SpectrainError) as error:
                if not away:
                    log.warning("recorder.waiting", error=str(error))
                away = True
                with self._dirty_lock:
                    self._dirty |= jobs
            self._closed.wait(1.0 if away else _PAUSE_S)
