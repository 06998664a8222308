"""What happened to a job: its events and previews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from api.record.checkpoints import record_checkpoint
from api.record.rows import find
from api.record.tables import RARE, Job, JobEvent, Preview
from api.views import EventListView, PreviewListView, PreviewView
from shared.events import CheckpointSaved, Event, PreviewMade


def store_events(session: Session, events: Sequence[Event]) -> None:
    """Add events with numbers that the record does not hold yet, and what they say of artifacts."""
    if not events:
        return
    # Past the mapper, which would ask each row what it is.
    session.execute(
        insert(cast(Table, JobEvent.__table__)),
        [
            {
                "job_id": event.job_id,
                "number": event.number,
                "attempt": event.attempt,
                "type": event.body.type,
                "at": event.at,
                "body": event.body,
            }
            for event in events
        ],
    )
    for event in events:
        body = event.body
        if isinstance(body, CheckpointSaved):
            record_checkpoint(session, find(session, event.job_id), body, event.at)
        elif isinstance(body, PreviewMade):
            dump = body.model_dump(mode="json")
            session.merge(Preview(job_id=event.job_id, name=body.name, at=event.at, step=body.step, body=dump))


def read_events(session: Session, job: Job, *, after: int, limit: int, types: Sequence[str] = ()) -> EventListView:
    """Recorded events with numbers above `after`, at most `limit`, of `types` or of all."""
    query = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.number > after)
    if types:
        if "steps" not in types:
            query = query.where(RARE)
        query = query.where(JobEvent.type.in_(types))
    rows = session.scalars(query.order_by(JobEvent.number).limit(limit))
    events = [
        Event.model_validate(
            {"job_id": row.job_id, "number": row.number, "attempt": row.attempt, "at": row.at, "body": row.body}
        )
        for row in rows
    ]
    return EventListView(events=events, last=job.last_number)


def read_previews(session: Session, job_id: int) -> PreviewListView:
    """Every preview, newest first."""
    rows = session.scalars(
        select(Preview).where(Preview.job_id == job_id).order_by(Preview.step.desc(), Preview.at.desc())
    )
    made = [(row, PreviewMade.model_validate(row.body)) for row in rows]
    return PreviewListView(
        previews=[
            PreviewView(name=body.name, epoch=body.epoch, step=body.step, clips=body.clips, at=row.at)
            for row, body in made
        ]
    )
