"""The outbox: events of the api itself, on their way from the record to the event bus.

They were written with the change that they tell of; here they are published in order, as often as it takes.
"""

from __future__ import annotations

import threading

import structlog
from redis.exceptions import RedisError
from sqlalchemy import delete, select

from api.record.database import Database
from api.record.tables import Job, Outbox
from shared.event_bus import EventBus
from shared.events import Event

_RETRY_S = 1.0

log = structlog.get_logger(__name__)


class OutboxSender:
    """Publishes what is in the outbox; `wake` makes it look."""

    def __init__(self, database: Database, bus: EventBus) -> None:
        self._database = database
        self._bus = bus
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it; what is left is sent after the next start."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """Something may be in the outbox."""
        self._wake.set()

    def send(self) -> None:
        """Publish all that is there; raises redis.RedisError while Redis is away."""
        while True:
            with self._database.reading() as session:
                rows = list(
                    session.execute(
                        select(Outbox, Job.last_number)
                        .outerjoin(Job, Job.id == Outbox.job_id)
                        .order_by(Outbox.id)
                        .limit(100)
                    )
                )
            if not rows:
                return
            for row, last_number in rows:
                event = Event.model_validate(
                    {"job_id": row.job_id, "attempt": row.attempt, "at": row.at, "body": row.body}
                )
                self._bus.publish([event], writer="api", first_count=row.id, floor=last_number or 0, fenced=False)
            with self._database.session() as session:
                session.execute(delete(Outbox).where(Outbox.id <= rows[-1][0].id))

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            try:
                self.send()
            except RedisError as error:
                log.warning("outbox.waiting", error=str(error))
                self._wake.wait(_RETRY_S)
            else:
                self._wake.wait(5.0)
