"""While a backup is made nothing is deleted: the record says so, and whoever deletes asks it.

    hold -> queue_settings "backup" {"until", "by"} -> check_not_held, in the unit of work that would delete

What its trainer removes is not kept by that: checkpoints of running jobs are pinned in the store, see `make`. A backup
that was killed holds nothing for longer than two minutes; then the next one, or `spectrain gc`, takes its pins away. A
backup that stood still for so long finds that another one holds, and ends without touching what is the other's.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.record.database import Database
from api.record.tables import QueueSetting
from shared.errors import InUseError

HOLD_S: Final = 120.0
"""How long a hold lasts that nobody renews."""
PINS: Final = "backups"
"""Folder of the store with second names of what a trainer may remove while a backup is made."""
_SETTING: Final = "backup"


def is_held(session: Session) -> bool:
    """Whether a backup is being made."""
    row = session.get(QueueSetting, _SETTING)
    return row is not None and float(row.value["until"]) > time.time()


def check_not_held(session: Session) -> None:
    """Raise InUseError while a backup is made."""
    if is_held(session):
        raise InUseError("A backup is being made, and nothing can be deleted until it is done: try again later.")


def forget_hold(session: Session) -> None:
    """Have nothing held any more."""
    row = session.get(QueueSetting, _SETTING)
    if row is not None:
        session.delete(row)


class Hold:
    """What keeps everybody from deleting, for one backup."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by = secrets.token_hex(8)

    def is_ours(self) -> bool:
        """Whether no other backup holds by now."""
        with self._database.reading() as session:
            return _holder(session) == self._by

    def check(self) -> None:
        """Raise InUseError where another backup holds by now: what this one copied may have gaps."""
        if not self.is_ours():
            raise InUseError("This backup stood still for so long that another one was begun: make it anew.")

    def take(self) -> None:
        """Begin; raises InUseError where another backup holds."""
        with self._database.session() as session:
            check_not_held(session)
            self._write(session)

    def renew(self) -> None:
        """Hold on, unless another backup does."""
        with self._database.session() as session:
            if _holder(session) == self._by:
                self._write(session)

    def end(self) -> None:
        """Let everybody delete again, unless another backup holds."""
        with self._database.session() as session:
            if _holder(session) == self._by:
                forget_hold(session)

    def _write(self, session: Session) -> None:
        session.merge(QueueSetting(name=_SETTING, value={"until": time.time() + HOLD_S, "by": self._by}))


@contextmanager
def held(database: Database) -> Generator[Hold]:
    """Keep everybody from deleting; raises InUseError where another backup does."""
    hold = Hold(database)
    hold.take()
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(hold, done), name="backup-hold", daemon=True)
    thread.start()
    try:
        yield hold
    finally:
        done.set()
        thread.join()
        hold.end()


def _renew(hold: Hold, done: threading.Event) -> None:
    while not done.wait(HOLD_S / 8):
        with suppress(SQLAlchemyError):  # there are seven more tries
            hold.renew()


def _holder(session: Session) -> str:
    row = session.get(QueueSetting, _SETTING)
    return "" if row is None else str(row.value.get("by", ""))
