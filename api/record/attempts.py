"""Attempts in the record: given to a worker, begun, ended, lost. The only place where an outcome becomes a state."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from api.record.history import store_events
from api.record.notices import note_warning
from api.record.rows import job_spec, job_summary, move, tell
from api.record.summary import fold
from api.record.tables import Checkpoint, Job
from shared.events import AttemptEnded, AttemptStarted, CheckpointSaved, Event, StepMetrics, Warned
from shared.jobs import ACTIVE, AttemptSpec, JobSpec, JobState
from shared.placement import Placement

MAX_FRUITLESS: Final = 9
"""A job has failed when its attempts since the last checkpoint weigh so much: three crashes, or nine losses."""
CRASHED: Final = 3
"""Weight of a crash of the trainer, which the job most likely caused."""
LOST: Final = 1
"""Weight of an attempt that was lost with its worker, which has many causes."""

_SAVED: Final = select(Checkpoint.name).where(Checkpoint.job_id == bindparam("job_id")).order_by(Checkpoint.name)
_HOPELESS: Final = "It was tried again and again without getting further."


def record_events(session: Session, streams: Mapping[int, Sequence[Event]]) -> dict[int, Job]:
    """Store new events of jobs, those of each job in order, and apply what they say; returns the jobs' rows.

    Numbers that are recorded already are passed over. Events of attempts that are not the newest stay in the
    history, but change nothing. Events of a job that is not there any more are dropped.
    """
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(streams)))}
    new = {
        job_id: [event for event in streams[job_id] if event.number > (job.last_number or 0)]
        for job_id, job in jobs.items()
    }
    store_events(session, [event for events in new.values() for event in events])
    for job_id, events in new.items():
        _apply(session, jobs[job_id], events)
    return jobs


def _apply(session: Session, job: Job, events: Sequence[Event]) -> None:
    summary = told = job_summary(job)
    for event, following in zip_longest(events, events[1:]):
        if event.attempt != job.attempt or (following is not None and _is_overtaken(event, following)):
            continue
        summary = fold(summary, event.body, event.at)
        if isinstance(event.body, CheckpointSaved):
            job.fruitless, job.checkpoint_choice = 0, ""  # from here on the newest one counts
        elif isinstance(event.body, Warned):
            note_warning(session, job, event.body)
        elif isinstance(event.body, (AttemptStarted, AttemptEnded)):
            # These look at the row's summary.
            told, job.summary = summary, summary.model_dump(mode="json")
            if isinstance(event.body, AttemptStarted):
                _begun(session, job, event.at)
            else:
                _ended(session, job, event.body)
    if events:
        job.last_number = events[-1].number
    if summary is not told:
        job.summary = summary.model_dump(mode="json")


def _is_overtaken(event: Event, following: Event) -> bool:
    """Whether a summary that has the next event, too, shows nothing of this one: its steps are not the newest."""
    later = following.body
    is_next = isinstance(event.body, StepMetrics) and isinstance(later, StepMetrics) and bool(later.step)
    return is_next and following.attempt == event.attempt


def assign(
    session: Session, job: Job, *, worker: str, device: str, above: int = 0, new: JobSpec | None = None
) -> AttemptSpec:
    """Give `job` to `worker` as a new attempt, numbered above every earlier one and above `above`.

    `new` is the specification of a job that was added just now. Where the row cannot be read, ValidationError is
    raised and nothing is changed.
    """
    number, secret = max(job.attempt or 0, above) + 1, secrets.token_urlsafe(24)
    attempt = _attempt_spec(session, job, number, secret, new)
    summary = job_summary(job).model_copy(update={"attempt_saved": False})
    job.attempt, job.secret, job.worker, job.device = number, secret, worker, device
    job.assigned_at = job.ticket_at = time.time()
    job.summary = summary.model_dump(mode="json")
    move(session, job, JobState.STARTING)
    return attempt


def attempt_spec(session: Session, job: Job) -> AttemptSpec:
    """What the trainer of the job's newest attempt reads."""
    return _attempt_spec(session, job, job.attempt, job.secret)


def _attempt_spec(session: Session, job: Job, number: int, secret: str, new: JobSpec | None = None) -> AttemptSpec:
    saved: tuple[str, ...] = ()
    if new is None:
        saved = tuple(session.scalars(_SAVED, {"job_id": job.id}))
    limit_s, elapsed_s = Placement.model_validate(job.placement or {}).time_limit_s, job_summary(job).ended_elapsed_s
    return AttemptSpec(
        job_id=job.id,
        attempt=number,
        spec=new or job_spec(session, job),
        resume=bool(saved),
        checkpoint=job.checkpoint_choice or None,
        checkpoints=saved,
        elapsed_s=elapsed_s,
        time_left_s=None if limit_s is None else max(0.0, limit_s - elapsed_s),
        secret=secret,
    )


def hand_back(session: Session, job: Job, *, reason: str) -> bool:
    """Have the newest attempt saved and the job queued again, which then says `reason`.

    False where that is not needed: no attempt is at work, or a person wants it stopped anyway.
    """
    if JobState(job.state) not in (JobState.STARTING, JobState.RUNNING) or job.wish not in ("none", "hand_back"):
        return False
    if job.wish != "hand_back":
        job.wish, job.reason = "hand_back", reason
        tell(session, job, time.time())
    return True


def take_back(session: Session, job: Job, *, reason: str) -> None:
    """The newest attempt is lost or was never taken: queue the job again, or do what a person wished."""
    summary = job_summary(job)
    if summary.attempt_started_at is not None:
        # Nobody told how long it ran: until now is the best that can be said.
        ran_s = max(0.0, time.time() - summary.attempt_started_at)
        summary = fold(summary, AttemptEnded(outcome="crashed", elapsed_s=ran_s), time.time())
        job.summary = summary.model_dump(mode="json")
        if _is_hopeless(job, LOST):
            _move_through(session, job, JobState.FAILED, reason=f"{reason} {_HOPELESS}")
            return
    _stop_or_requeue(session, job, reason=reason)


def _begun(session: Session, job: Job, at: float) -> None:
    if job.started_at is None:
        job.started_at = at
    if job.state == JobState.STARTING:
        move(session, job, JobState.RUNNING, reason=job.reason if job.wish == "hand_back" else "")


def _ended(session: Session, job: Job, body: AttemptEnded) -> None:
    if JobState(job.state) not in ACTIVE:
        return
    summary = job_summary(job)
    saved = ""
    if summary.attempt_saved and summary.last_checkpoint_step is not None:
        saved = f"Saved step {summary.last_checkpoint_step:,} in {summary.last_checkpoint_seconds:.2f} s."
    match body.outcome:
        case "completed":
            _move_through(session, job, JobState.COMPLETED, reason="")
        case "failed":
            _move_through(session, job, JobState.FAILED, reason=body.reason, detail=body.detail)
        case "cancelled" | "paused":
            # A person may have cancelled while the trainer was already pausing.
            cancelled = body.outcome == "cancelled" or job.wish == "cancel"
            _move_through(
                session, job, JobState.CANCELLED if cancelled else JobState.PAUSED, reason=body.reason or saved
            )
        case "handed_back":
            why = body.reason or "Its worker was stopped."
            _stop_or_requeue(session, job, reason=f"{why} {saved}".strip(), stopped_reason=saved)
        case "crashed":
            if _is_hopeless(job, CRASHED):
                _move_through(session, job, JobState.FAILED, reason=f"{body.reason} {_HOPELESS}", detail=body.detail)
            else:
                _stop_or_requeue(session, job, reason=f"{body.reason} It is tried again.", stopped_reason=body.reason)
        case "fenced":
            return


def _is_hopeless(job: Job, weight: int) -> bool:
    """Count an attempt that ended without a new checkpoint; True when trying again makes no sense."""
    if not job_summary(job).attempt_saved:
        job.fruitless = (job.fruitless or 0) + weight
    return job.fruitless >= MAX_FRUITLESS and job.wish in ("none", "hand_back")


def _stop_or_requeue(session: Session, job: Job, *, reason: str, stopped_reason: str | None = None) -> None:
    """Do what is wished of the attempt that ended; `stopped_reason` is what to say where it ended because of that."""
    wished = reason if stopped_reason is None else stopped_reason
    match job.wish:
        case "cancel":
            _move_through(session, job, JobState.CANCELLED, reason=wished)
        case "pause":
            _move_through(session, job, JobState.PAUSED, reason=wished)
        case "hand_back":
            move(session, job, JobState.QUEUED, reason=f"{job.reason} {wished} {_repeated(job)}".strip())
        case _:
            move(session, job, JobState.QUEUED, reason=f"{reason} {_repeated(job)}".strip())


def _repeated(job: Job) -> str:
    """What a training does again when it goes on, in a sentence; nothing where it goes on at its newest step."""
    summary = job_summary(job)
    saved, step = summary.last_checkpoint_step, summary.progress.step
    if step <= (saved or 0):
        return ""
    if saved is None:
        return f"Nothing had been saved yet: it starts over, and {_steps(step)} done again."
    return f"It goes on from step {saved:,}, the last that was saved, and {_steps(step - saved)} done again."


def _steps(number: int) -> str:
    return "1 step is" if number == 1 else f"{number:,} steps are"


def _move_through(session: Session, job: Job, state: JobState, *, reason: str, detail: str = "") -> None:
    """Move to `state`, by the state in between where an event overtook it."""
    between = {JobState.CANCELLED: JobState.CANCELLING, JobState.PAUSED: JobState.PAUSING}.get(state)
    if between is None and job.state == JobState.STARTING:
        between = JobState.RUNNING
    if between is not None and job.state != between:
        move(session, job, between)
    move(session, job, state, reason=reason, detail=detail)
