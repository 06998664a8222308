"""What is kept in the record once for the whole queue: whether it is paused, which numbers of jobs are used up."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from api.record.tables import QueueSetting

_PAUSED: Final = "paused"
_DELETED: Final = "newest_deleted"


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


def newest_deleted(session: Session) -> int:
    """The highest number of a job that was deleted; 0 for none."""
    row = session.get(QueueSetting, _DELETED)
    return 0 if row is None else int(row.value["job"])


def note_deleted(session: Session, job_id: int) -> None:
    """Have `job_id` never be the number of another job: artifacts and events of the deleted one may still come up."""
    row = session.get(QueueSetting, _DELETED)
    if row is None:
        session.add(QueueSetting(name=_DELETED, value={"job": job_id}))
    elif job_id > row.value["job"]:
        row.value = {"job": job_id}
