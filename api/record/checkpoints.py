"""Checkpoints in the record: those that the store has, and which of them are models that stay.

A trainer tells with each one that it saved which others it kept; all others are gone, but for those that a person
pinned: of them the api has copies.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.record.tables import Checkpoint, Job
from api.views import CheckpointListView, CheckpointView
from shared.events import CheckpointSaved


def record_checkpoint(session: Session, job: Job, body: CheckpointSaved, at: float) -> None:
    """Add a checkpoint, and forget those that its trainer removed."""
    session.merge(
        Checkpoint(
            job_id=job.id,
            name=body.name,
            at=at,
            step=body.step,
            body=body.model_dump(mode="json"),
            representation=job.spec["train"]["representation"],
            only_pinned=False,
        )
    )
    session.flush()
    kept = {*body.kept, body.name}
    for row in _rows(session, job.id):
        if row.name not in kept:
            row.only_pinned = True
            if not row.pinned:
                session.delete(row)
    mark_models(session, job.id)


def mark_models(session: Session, job_id: int) -> None:
    """Have each checkpoint of a job say what it is, after one came, went or was pinned."""
    session.flush()
    rows = _rows(session, job_id)
    best = next((row for row in rows if row.body["best"]), None)
    for row in rows:
        row.best = row is best
        row.final = row.body["reason"] == "final"
        row.is_model = row.best or row.final or row.pinned


def read_checkpoints(session: Session, job_id: int) -> CheckpointListView:
    """The checkpoints that exist, newest first."""
    return CheckpointListView(
        checkpoints=[
            _view(row, CheckpointSaved.model_validate(row.body), newest=index == 0)
            for index, row in enumerate(_rows(session, job_id))
        ]
    )


def _rows(session: Session, job_id: int) -> list[Checkpoint]:
    """Newest first."""
    return list(
        session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.at.desc(), Checkpoint.step.desc())
        )
    )


def _view(row: Checkpoint, body: CheckpointSaved, *, newest: bool) -> CheckpointView:
    return CheckpointView(
        name=body.name,
        epoch=body.epoch,
        step=body.step,
        reason=body.reason,
        best=row.best,
        newest=newest,
        pinned=row.pinned,
        only_pinned=row.pinned and row.only_pinned,
        loss=body.loss,
        val_reconstruction=body.val_reconstruction,
        size_bytes=body.size_bytes,
        seconds=body.seconds,
        at=row.at,
    )
