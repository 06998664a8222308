"""The order of the queue: higher priorities first, then by position, then by number.

A position is a number between those of its neighbours, so that moving a job changes one row. Where two neighbours
come too near to each other, all positions are made whole numbers again, in the same transaction.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from api.record.rows import next_position
from api.record.tables import Job
from shared.jobs import ENDED, JobState

WAITING: Final = frozenset({JobState.HELD, JobState.QUEUED})
"""States of the jobs that the queue puts in order."""

RENUMBERED: Final = "renumbered"
"""Where a session says which jobs got another position, beside the one that was moved."""
_LEAST_GAP: Final = 1e-6
"""Between two positions: far above the resolution of floats for the first thousand million jobs."""

_WAITS: Final = Job.state.in_([state.value for state in WAITING])
_HAS_A_PLACE: Final = Job.state.in_([state.value for state in JobState if state not in ENDED])
"""A job at work may come back to the place that it had."""


def first_waiting(session: Session) -> Job | None:
    """The job that would start first."""
    order = (Job.priority.desc(), Job.position, Job.id)
    return session.scalar(select(Job).where(_WAITS).order_by(*order).limit(1))


def last_waiting(session: Session) -> Job | None:
    """The job that would start last."""
    order = (Job.priority, Job.position.desc(), Job.id.desc())
    return session.scalar(select(Job).where(_WAITS).order_by(*order).limit(1))


def place_before(session: Session, job: Job, other: Job) -> None:
    """Put `job` right before `other`, with its priority."""
    job.priority = other.priority
    lower = _position_before(session, job, other)
    if lower is not None and other.position - lower < 2 * _LEAST_GAP:
        _renumber(session)
        session.refresh(other, ["position"])
        lower = _position_before(session, job, other)
    job.position = other.position - 1.0 if lower is None else (lower + other.position) / 2


def place_last(session: Session, job: Job) -> None:
    """Put `job` at the end of the queue, with the priority of the last job there."""
    last = last_waiting(session)
    if last is not None and last.id != job.id:
        job.priority = last.priority
        job.position = next_position(session)


def _position_before(session: Session, job: Job, other: Job) -> float | None:
    """Position of the job in front of `other`, when `job` is left out."""
    earlier = or_(Job.position < other.position, and_(Job.position == other.position, Job.id < other.id))
    return session.scalar(
        select(func.max(Job.position)).where(
            _HAS_A_PLACE, Job.priority == other.priority, Job.id.not_in([job.id, other.id]), earlier
        )
    )


def _renumber(session: Session) -> None:
    session.flush()
    ids = session.scalars(select(Job.id).where(_HAS_A_PLACE).order_by(Job.position, Job.id)).all()
    session.execute(update(Job), [{"id": job_id, "position": float(place)} for place, job_id in enumerate(ids, 1)])
    session.info[RENUMBERED] = ids
