"""The row of a job: found, read, moved from state to state.

Every change of state goes through `move`, which checks it against the table of legal transitions and leaves the
event that tells of it in the outbox, in the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from api.record.notices import note_state
from api.record.summary import JobSummary
from api.record.tables import DatasetVersion, Job, Outbox
from shared.config import TrainConfig
from shared.errors import NotFoundError
from shared.events import StateChanged
from shared.jobs import ACTIVE, ENDED, Clip, JobSpec, JobState, PreprocessSpec, Priority, TrainSpec, check_transition

KEPT_CLIPS: Final = "kept_clips"
"""Name of what the sessions of a database share: the clips of versions, which never change, once they were read."""
_VERSIONS_KNOWN: Final = 32
_VERSION: Final = select(DatasetVersion.id, DatasetVersion.created_at, DatasetVersion.clips.is_not(None)).where(
    DatasetVersion.dataset_id == bindparam("dataset_id"), DatasetVersion.version == bindparam("version")
)
_LAST_POSITION: Final = select(func.max(Job.position))
DELETION: Final = "delete"
"""What is wished of a job that has ended and is being deleted: nobody may bring it back or wait for it."""
PRIORITIES: Final[Mapping[Priority, int]] = {"low": -1, "normal": 0, "high": 1}
PRIORITY_NAMES: Final[Mapping[int, Priority]] = {number: name for name, number in PRIORITIES.items()}


def find(session: Session, job_id: int, *, field: str = "") -> Job:
    """The row of a job; raises NotFoundError, which names `field` where the request's body said the number."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(
            f"{field}: there is no job {job_id}." if field else f"There is no job {job_id}.", field=field
        )
    return job


def next_position(session: Session) -> float:
    """A place behind all that wait."""
    return (session.scalar(_LAST_POSITION) or 0.0) + 1.0


def move(session: Session, job: Job, state: JobState, *, reason: str = "", detail: str = "") -> None:
    """Take `job` to `state`; raises TransitionError where the table does not allow it."""
    check_transition(job.id, JobState(job.state), state)
    now = time.time()
    job.state, job.reason, job.detail = state.value, _storable(reason), _storable(detail)
    job.ended_at = now if state in ENDED else None
    if state is JobState.QUEUED:
        job.queued_at = now
    if state not in ACTIVE:
        job.wish, job.ticket_at = "none", None
    tell(session, job, now)
    note_state(session, job)
    if state in (JobState.QUEUED, JobState.HELD):
        job.worker = job.device = ""  # the others keep saying where they ran


def _storable(text: str) -> str:
    """`text` as every database takes it: PostgreSQL refuses a zero, and what a trainer wrote last may hold any."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def tell(session: Session, job: Job, now: float) -> None:
    """Leave the event of the job's present state in the outbox."""
    body = StateChanged(
        state=JobState(job.state),
        reason=job.reason,
        detail=job.detail,
        worker=job.worker or "",
        device=job.device or "",
    )
    session.add(Outbox(job_id=job.id, attempt=job.attempt or 0, at=now, body=body.model_dump(mode="json")))


def kept_clips(session: Session, dataset_id: int, version: int) -> tuple[Clip, ...] | None:
    """The clips of a dataset's version as the record keeps them for its jobs; None before the first of them."""
    row = session.execute(_VERSION, {"dataset_id": dataset_id, "version": version}).first()
    return known_clips(session, row.id, row.created_at) if row is not None and row[2] else None


def known_clips(session: Session, version_id: int, created_at: float) -> tuple[Clip, ...]:
    """The clips that the record keeps in a version's row, read once."""
    known: dict[tuple[int, float], tuple[Clip, ...]] = session.info[KEPT_CLIPS]
    key = (version_id, created_at)  # a number alone may be another version's after a deletion
    clips = known.get(key)
    if clips is None:
        dumps = session.scalar(select(DatasetVersion.clips).where(DatasetVersion.id == version_id)) or ()
        clips = tuple(Clip.model_validate(dump) for dump in dumps)
        if len(known) >= _VERSIONS_KNOWN:
            known.clear()
        known[key] = clips
    return clips


def job_spec(session: Session, job: Job) -> JobSpec:
    """The specification of a job's row, with the clips of its dataset's version."""
    dataset: dict[str, Any] = dict(job.spec["dataset"])
    if dataset.pop("clip_count", None) is not None:
        dataset["clips"] = kept_clips(session, dataset["dataset_id"], dataset["version"])
    return (TrainSpec if job.kind == "train" else PreprocessSpec).model_validate({**job.spec, "dataset": dataset})


def train_config(job: Job) -> TrainConfig | None:
    """The configuration of a training; None for a job of another kind."""
    return TrainConfig.model_validate(job.spec["train"]) if job.kind == "train" else None


def stored_spec(spec: JobSpec) -> dict[str, Any]:
    """What a job's row keeps of `spec`."""
    dump = spec.model_dump(mode="json", exclude={"dataset": {"clips"}})
    dump["dataset"]["clip_count"] = len(spec.dataset.clips)
    return dump


def job_summary(job: Job) -> JobSummary:
    """The summary of a job's row."""
    return JobSummary.model_validate(job.summary or {})
