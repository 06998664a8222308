"""Changing jobs that have not ended, and repeating jobs: what was asked for, with something else in it, resolved anew.

An edit passes the same checks as a new job. A training that has not begun may change everything; later it keeps its
values, and at work it is handed back where it may no longer run where it does.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.orm import Session

from api.queue.actions import JobActions
from api.queue.order import WAITING
from api.queue.requests import request_of
from api.queue.submission import Settled, Submission, job_name
from api.record.attempts import hand_back
from api.record.database import Database
from api.record.dependencies import set_after
from api.record.jobs import JobRecord, NewJob, stored_request
from api.record.rows import PRIORITIES, find, job_spec, next_position, stored_spec, train_config
from api.record.tables import Job
from api.views import JobDetailView
from shared.devices import parse_device
from shared.errors import ConfigError, TransitionError
from shared.jobs import ENDED, JobState, TrainSpec
from shared.placement import Placement, needs_of
from shared.queue_requests import DuplicateRequest, EditRequest

_VALUES: Final = ("preset", "changes")
"""What of an edit changes the training itself."""
_ELSEWHERE: Final = "Its device or placement was changed."


class JobEdits:
    """Edits and duplicates; each answers with the job as it is afterwards."""

    def __init__(self, *, database: Database, record: JobRecord, actions: JobActions, submission: Submission) -> None:
        self._database = database
        self._record = record
        self._actions = actions
        self._submission = submission

    def edit(self, job_id: int, edit: EditRequest) -> JobDetailView:
        """Change what is said; raises as a submission does, and TransitionError where the job is too far for it."""
        said = {name: value for name, value in edit if value is not None}
        with self._database.reading() as session:
            job = find(session, job_id)
            _check(job, said)
            request = request_of(session, job).model_copy(update=said)
            known, spec = job.request, job_spec(session, job)
        new: NewJob | None = None
        if isinstance(spec, TrainSpec) and not said.keys().isdisjoint(_VALUES):
            settled = Settled(train=spec.train, start=spec.start, dataset=spec.dataset)
            new = self._submission.prepare(request, settled=settled)

        def change(session: Session, job: Job) -> None:
            _check(job, said)
            if job.request != known:
                raise TransitionError(f"Job {job.id} was changed by somebody else meanwhile: look at it and try again.")
            if new is not None:
                job.spec = stored_spec(new.spec)
            if "name" in said:
                job.name = job_name(request, spec)
            if "priority" in said and job.priority != PRIORITIES[request.priority]:
                job.priority, job.position = PRIORITIES[request.priority], next_position(session)
            if "after" in said:
                set_after(session, job.id, request.after)
            if "device" in said or "placement" in said:
                _place(session, job, request.device, request.placement)
            job.request = stored_request(request if new is None else new.request)

        return self._actions.act(job_id, change)

    def duplicate(self, job_id: int, request: DuplicateRequest, *, by: str = "") -> JobDetailView:
        """Submit what the job was asked for with again, from the same weights where it started from some.

        The new one is submitted by `by`, whoever submitted the first.
        """
        with self._database.reading() as session:
            job = find(session, job_id)
            again = request_of(session, job)
            spec = job_spec(session, job)
        if request.held is not None:
            again = again.model_copy(update={"held": request.held})
        settled = Settled(train=spec.train, start=spec.start) if isinstance(spec, TrainSpec) else None
        return self._record.submit(self._submission.prepare(again, settled=settled, by=by))


def _check(job: Job, said: dict[str, Any]) -> None:
    """Raise unless the job's state allows what is said."""
    state = JobState(job.state)
    if state in ENDED:
        raise TransitionError(f"Job {job.id} is {state.value}, so it cannot be changed: duplicate it instead.")
    for name in _VALUES:
        if name not in said:
            continue
        if train_config(job) is None:
            raise ConfigError(f"{name}: job {job.id} preprocesses, so it has no such values.", field=name)
        if state not in WAITING or job.started_at is not None:
            raise TransitionError(
                f"{name}: job {job.id} has begun, so it keeps its values: duplicate it with others instead.",
                field=name,
            )


def _place(session: Session, job: Job, device: str, placement: Placement) -> None:
    """Record where the job may run, and have it saved and queued again where that is not where it is."""
    before = Placement.model_validate(job.placement or {})
    job.wanted_device, job.placement = device, placement.model_dump(mode="json")
    job.needs = needs_of(device, placement)
    stays = bool(job.device) and parse_device(job.device).fits(device)
    if placement.worker == job.worker:
        before = before.model_copy(update={"worker": placement.worker})
    if not stays or placement != before:
        hand_back(session, job, reason=_ELSEWHERE)
