"""Settings of the whole queue, kept in the record."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from api.record.tables import QueueSetting

_PAUSED: Final = "paused"


def paused_at(session: Session) -> float | None:
    """When the queue was paused, in seconds since 1970; None while it gives jobs to workers."""
    row = session.get(QueueSetting, _PAUSED)
    return None if row is None else float(row.value["at"])


def set_paused(session: Session, at: float | None) -> None:
    """Pause the queue, or let it go on."""
    row = session.get(QueueSetting, _PAUSED)
    if at is None:
        if row is not None:
            session.delete(row)
    elif row is None:
        session.add(QueueSetting(name=_PAUSED, value={"at": at}))
