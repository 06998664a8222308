"""What is kept in the record once for the whole queue: whether it is paused, which numbers are used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ScalarSelect, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from api.record.tables import Dataset, Job, QueueSetting

Numbered = Literal["job", "dataset"]

_PAUSED: Final = "paused"
_DELETED: Final = "newest_deleted"
_VALUE: Final = select(QueueSetting.value).where(QueueSetting.name == bindparam("name"))


def _value_of(name: str) -> ScalarSelect[Any]:
    return select(QueueSetting.value).where(QueueSetting.name == name).scalar_subquery()


def _highest(number: InstrumentedAttribute[Any]) -> ScalarSelect[Any]:
    return select(func.max(number)).scalar_subquery()


_NUMBERS: Final = {
    kind: select(_value_of(_DELETED), _highest(table.id)) for kind, table in (("job", Job), ("dataset", Dataset))
}
_END: Final = select(
    _value_of(_DELETED).label("deleted"),
    _highest(Job.id).label("number"),
    _highest(Job.position).label("position"),
    _value_of(_PAUSED).label("paused"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfQueue:
    """Where a new job comes to stand."""

    job_id: int | None
    """Its number; None where the database says it as the row is added."""
    position: float
    """A place behind all that wait."""
    is_paused: bool


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
    """The number of the next one; None where the database says it as a row is added, and never gives one twice.

    SQLite would count on from the highest number that is there, which may have been that of a deleted one.
    """
    if session.get_bind().dialect.name != "sqlite":
        return None
    deleted, highest = session.execute(_NUMBERS[kind]).one()
    return _next_number(deleted, kind, highest)


def end_of_queue(session: Session) -> EndOfQueue:
    """What a new job needs to know of the queue, in one statement."""
    row = session.execute(_END).one()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return EndOfQueue(
        job_id=_next_number(row.deleted, "job", row.number) if is_sqlite else None,
        position=(row.position or 0.0) + 1.0,
        is_paused=row.paused is not None,
    )


def newest_deleted(session: Session, kind: Numbered) -> int:
    """The highest number of one that was deleted; 0 before the first."""
    return _number_in(session.scalar(_VALUE, {"name": _DELETED}), kind)


def note_deleted(session: Session, kind: Numbered, number: int) -> None:
    """Have `number` never be that of another one: what belonged to the deleted one may still come up."""
    row = session.get(QueueSetting, _DELETED)
    if row is None:
        session.add(QueueSetting(name=_DELETED, value={kind: number}))
    elif number > row.value.get(kind, 0):
        row.value = {**row.value, kind: number}


def _next_number(deleted: dict[str, Any] | None, kind: Numbered, highest: int | None) -> int:
    return max(_number_in(deleted, kind), highest or 0) + 1


def _number_in(deleted: dict[str, Any] | None, kind: Numbered) -> int:
    return 0 if deleted is None else int(deleted.get(kind, 0))
