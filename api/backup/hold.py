"""While a backup is made nothing is deleted: the record says so, and whoever deletes asks it.

    hold -> queue_settings "backup" {"until"} -> check_not_held, in the unit of work that would delete

What its trainer removes is not kept by that: checkpoints of running jobs are pinned in the store, see `make`. A backup
that was killed holds nothing for longer than two minutes; then the next one, or `spectrain gc`, takes its pins away.
"""

from __future__ import annotations

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


@contextmanager
def held(database: Database) -> Generator[None]:
    """Keep everybody from deleting; raises InUseError where another backup does."""
    with database.session() as session:
        check_not_held(session)
        _hold(session)
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(database, done), name="backup-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with database.session() as session:
            forget_hold(session)


def _renew(database: Database, done: threading.Event) -> None:
    while not done.wait(HOLD_S / 8):
        with suppress(SQLAlchemyError), database.session() as session:  # there are seven more tries
            _hold(session)


def _hold(session: Session) -> None:
    session.merge(QueueSetting(name=_SETTING, value={"until": time.time() + HOLD_S}))
