"""Delivers what the record says is to be told, as often as it takes, for some hours.

A delivery is marked only after the other side took it, so a restart loses none. One that was taken while the api died
may come twice: it then has the same X-Spectrain-Delivery, by which the other side knows it.
"""

from __future__ import annotations

import time
from typing import Final

import structlog
from sqlalchemy import delete, select
from typing_extensions import override

from api.background import Background, progressed
from api.notify.targets import Targets
from api.notify.webhook import DeliveryError
from api.record.database import Database
from api.record.tables import Notification, NotificationTarget

DELAYS_S: Final = (10.0, 60.0, 300.0, 1_800.0, 7_200.0)
"""Before each further try; after the last it is given up."""
KEPT_S: Final = 30 * 86_400.0
"""How long it is known what was delivered, so that nobody is told twice."""
_AT_ONCE: Final = 20

log = structlog.get_logger(__name__)


class Notifier(Background):
    """Sends what is due."""

    def __init__(self, database: Database, targets: Targets) -> None:
        super().__init__("notifier", every_s=5.0)
        self._database = database
        self._targets = targets
        self._swept_at = float("-inf")

    @override
    def work(self) -> None:
        """Deliver what is due; a target that fails keeps no other one waiting for longer than its timeout."""
        with self._database.reading() as session:
            due = session.execute(
                select(Notification, NotificationTarget)
                .join(NotificationTarget, NotificationTarget.id == Notification.target_id)
                .where(Notification.due_at <= time.time())
                .order_by(Notification.due_at)
                .limit(_AT_ONCE)
            ).all()
        failed: set[int] = set()
        for notification, target in due:
            if target.id in failed:
                continue  # its next ones wait for the next round
            error: DeliveryError | None = None
            try:
                self._targets.deliver(target, notification.body, delivery=f"{target.id}-{notification.id}")
            except DeliveryError as caught:
                error = caught
                failed.add(target.id)
            self._mark(notification.id, target.id, error)
            progressed()
        if len(due) == _AT_ONCE:
            self.wake()
        self._sweep()

    def _mark(self, notification_id: int, target_id: int, error: DeliveryError | None) -> None:
        with self._database.session() as session:
            row, target = session.get(Notification, notification_id), session.get(NotificationTarget, target_id)
            if row is None or target is None:
                return  # it was removed meanwhile
            target.last_error = "" if error is None else str(error)
            row.tries += 1
            if error is None or error.for_good or row.tries > len(DELAYS_S):
                row.due_at = None
            else:
                row.due_at = time.time() + DELAYS_S[row.tries - 1]
        log.info(
            "notification.sent" if error is None else "notification.failed",
            target=target_id,
            notification=notification_id,
            error=str(error or ""),
        )

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < 3_600.0:
            return
        self._swept_at = time.monotonic()
        with self._database.session() as session:
            old = Notification.created_at < time.time() - KEPT_S
            session.execute(delete(Notification).where(old, Notification.due_at.is_(None)))
