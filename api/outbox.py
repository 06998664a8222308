"""The outbox: events of the api itself, on their way from the record to the event bus.

They were written with the change that they tell of; here they are published in order, as often as it takes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select
from typing_extensions import override

from api.background import Background
from api.record.database import Database
from api.record.tables import Job, Outbox
from shared.event_bus import EventBus
from shared.events import Event

_DELAY_S: Final = 0.05
"""What is written in so short a time travels together, and after the ticket that a device may be waiting for."""


class OutboxSender(Background):
    """Publishes what is in the outbox."""

    def __init__(self, database: Database, bus: EventBus) -> None:
        super().__init__("outbox", every_s=5.0, delay_s=_DELAY_S)
        self._database = database
        self._bus = bus

    @override
    def work(self) -> None:
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
                self._bus.publish([event], writer="api", first_count=row.id, floor=last_number or 0, secret=None)
            with self._database.session() as session:
                session.execute(delete(Outbox).where(Outbox.id.in_([row.id for row, _ in rows])))
