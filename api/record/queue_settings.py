"""What is kept in the record once for the whole queue: whether it is paused, which numbers are used up."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from api.record.tables import Dataset, Job, QueueSetting

Numbered = Literal["job", "dataset"]

_PAUSED: Final = "paused"
_DELETED: Final = "newest_deleted"
_VALUE: Final = select(QueueSetting.value).where(QueueSetting.name == bindparam("name"))
_TABLES: Final = {"job": Job, "dataset": Dataset}


def paused_at(session: Session) -> float | None:
    """When the queue was paused, in seconds since 1970; None while it gives jobs to workers."""
    value = session.scalar(_VALUE, {"name": _PAUSED})
    return None if value is None else float(value["at"])


def set_paused(session: Session, at: float | None) -> None:
    """Pause the queue, or let it go on."""
    row = session.get(QueueSetting, _PAUSED)
    if at is None:
        if row is not None:
            session.delete(row)
    elif row is None:
        session.add(QueueSetting(name=_PAUSED, value={"at": at}))


def free_number(session: Session, kind: Numbered) -> int | None:
    """The number of the next one where the database could give that of a deleted one again; else None.

    SQLite counts on from the highest number that is there; PostgreSQL never gives one twice.
    """
    deleted = newest_deleted(session, kind)
    if not deleted or session.get_bind().dialect.name != "sqlite":
        return None
    return max(deleted, session.scalar(select(func.max(_TABLES[kind].id))) or 0) + 1


def newest_deleted(session: Session, kind: Numbered) -> int:
    """The highest number of one that was deleted; 0 before the first."""
    value = session.scalar(_VALUE, {"name": _DELETED})
    return 0 if value is None else int(value.get(kind, 0))


def note_deleted(session: Session, kind: Numbered, number: int) -> None:
    """Have `number` never be that of another one: what belonged to the deleted one may still come up."""
    row = session.get(QueueSetting, _DELETED)
    if row is None:
        session.add(QueueSetting(name=_DELETED, value={kind: number}))
    elif number > row.value.get(kind, 0):
        row.value = {**row.value, kind: number}
