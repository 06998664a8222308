"""Notifications in the record: who is told of what, and what has not been delivered yet.

Written in the same transaction as the change that they tell of, so that neither is there without the other. One target
is told once of one thing: that an attempt finished, that it failed, that it has a certain trouble.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from api.record.tables import Job, Notification, NotificationTarget
from shared.events import Warned
from shared.jobs import JobState

Occasion = Literal["finished", "failed", "attention"]

OF_STATES: Final[dict[JobState, Occasion]] = {JobState.COMPLETED: "finished", JobState.FAILED: "failed"}
_NEEDS_A_PERSON: Final = frozenset({"not_a_number", "collapse", "checkpoint", "disk", "restart"})
"""Warnings that somebody should hear of who does not look; the others can wait until somebody does."""


def note_state(session: Session, job: Job) -> None:
    """The job entered its state just now."""
    occasion = OF_STATES.get(JobState(job.state))
    if occasion is not None:
        _note(session, job, occasion, key=f"{occasion} {job.attempt or 0}", sentence=job.reason)


def note_warning(session: Session, job: Job, warned: Warned) -> None:
    """The job warned."""
    if warned.code in _NEEDS_A_PERSON:
        sentence = f"{warned.message} {warned.advice}".strip()
        _note(session, job, "attention", key=f"{warned.code} {job.attempt or 0}", sentence=sentence)


def _note(session: Session, job: Job, occasion: Occasion, *, key: str, sentence: str) -> None:
    targets = session.scalars(
        select(NotificationTarget).where(or_(NotificationTarget.job_id.is_(None), NotificationTarget.job_id == job.id))
    ).all()
    for target in targets:
        told = select(Notification.id).where(
            Notification.target_id == target.id, Notification.job_id == job.id, Notification.key == key
        )
        if occasion in target.occasions and session.scalar(told) is None:
            session.add(
                Notification(
                    target_id=target.id,
                    job_id=job.id,
                    key=key,
                    body=_body(job, occasion, sentence),
                    created_at=time.time(),
                    due_at=time.time(),
                )
            )


def _body(job: Job, occasion: Occasion, sentence: str) -> dict[str, Any]:
    return {
        "event": occasion,
        "job": {"id": job.id, "name": job.name, "kind": job.kind, "dataset": job.dataset_name, "state": job.state},
        "message": sentence,
        "at": time.time(),
    }
