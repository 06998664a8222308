"""Jobs: submitting, listing, controlling, their events."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from flask import Response, request
from pydantic import Field, RootModel

from api.answers import answer
from api.keeping.views import DeletedView
from api.routes.access import submitter
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, JobPath
from api.services import services
from api.views import (
    BatchView,
    BulkView,
    CheckView,
    EventListView,
    JobDetailView,
    JobListView,
    ResumeSummaryView,
    SweepCheckView,
)
from shared.config import Frozen
from shared.errors import ConfigError
from shared.jobs import JobKind, JobRequest, JobState, ResumeRequest
from shared.queue_requests import (
    BatchRequest,
    BulkRequest,
    DuplicateRequest,
    EditRequest,
    MoveRequest,
    SweepRequest,
)

jobs = Resource("jobs", f"{API}/jobs")

MAX_BATCH_BYTES: Final = 16 << 20
"""Largest body of a batch: its jobs, each with every value said."""


@jobs.before_request
def allow_batches() -> None:
    """Let a batch be larger than what is said of one job."""
    if request.path == f"{API}/jobs/batch":
        request.max_content_length = MAX_BATCH_BYTES


class JobsQuery(Frozen):
    """Which jobs are listed."""

    state: Annotated[str, Field(max_length=200)] = ""
    """States, separated by commas; empty for all."""
    kind: Literal["", "preprocess", "train"] = ""
    dataset: Annotated[str, Field(max_length=200)] = ""
    """Id or name of a dataset."""
    q: Annotated[str, Field(max_length=200)] = ""
    """Part of a job's or a dataset's name."""
    batch: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Only the jobs of this batch."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 500
    """At most so many jobs."""
    ended: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """At most so many that have ended, beside `limit` others; unset for `limit` jobs in all."""


class EventsQuery(Frozen):
    """Which events are listed."""

    after: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Only events with higher numbers."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    types: Annotated[str, Field(max_length=200, pattern=r"^[a-z_,]*$")] = ""
    """Types of events, separated by commas; empty for all."""


class JobBody(RootModel[JobRequest]):
    """A request for a job, told apart by `kind`."""


@jobs.reads("", JobListView)
def list_jobs(query: JobsQuery) -> Response:
    """List jobs: active ones, then queued ones in their order, then ended ones, newest first."""
    parts = services()
    kind: JobKind | None = query.kind or None
    return answer(
        JobListView(
            jobs=parts.core.jobs.list(
                states=_states(query.state),
                kind=kind,
                dataset_id=parts.datasets.view(query.dataset).id if query.dataset else None,
                query=query.q,
                batch=query.batch,
                limit=query.limit,
                ended=query.ended,
            )
        )
    )


@jobs.does("", JobDetailView, status=201)
def submit_job(body: JobBody) -> Response:
    """Submit a job."""
    parts = services()
    return answer(parts.core.jobs.submit(parts.submission.prepare(body.root, by=submitter())), 201)


@jobs.does("/batch", BatchView, status=201)
def submit_batch(body: BatchRequest) -> Response:
    """Submit several jobs: all of them, or none."""
    return answer(services().batches.submit(body, by=submitter()), 201)


@jobs.does("/sweep", BatchView, status=201)
def submit_sweep(body: SweepRequest) -> Response:
    """Submit a job in every combination of datasets and values: all of them, or none."""
    return answer(services().batches.sweep(body, by=submitter()), 201)


@jobs.does("/sweep/check", SweepCheckView)
def check_sweep(body: SweepRequest) -> Response:
    """Tell what a sweep would come to, without submitting it."""
    return answer(services().batches.check(body))


@jobs.does("/bulk", BulkView)
def act_on_jobs(body: BulkRequest) -> Response:
    """Do the same to several jobs; what one refuses keeps no other from it."""
    return answer(services().core.actions.bulk(body))


@jobs.does("/check", CheckView)
def check_job(body: JobBody) -> Response:
    """Tell what a request would come to, without submitting it."""
    return answer(services().submission.check(body.root))


@jobs.reads(f"/<{ID}:job_id>", JobDetailView)
def get_job(path: JobPath) -> Response:
    """One job."""
    return answer(services().core.jobs.get(path.job_id))


@jobs.removes(f"/<{ID}:job_id>", DeletedView)
def delete_job(path: JobPath) -> Response:
    """Delete a job that has ended: its events, checkpoints, previews and everything else that it made."""
    parts = services()
    deleted = parts.deletion.delete_job(path.job_id)
    parts.disk_use.forget()
    parts.core.gone("job", path.job_id)
    return answer(deleted)


@jobs.does(f"/<{ID}:job_id>/cancel", JobDetailView)
def cancel_job(path: JobPath) -> Response:
    """Save and stop the job, or take it off the queue."""
    return answer(services().core.actions.cancel(path.job_id))


@jobs.does(f"/<{ID}:job_id>/pause", JobDetailView)
def pause_job(path: JobPath) -> Response:
    """Save the job and free its device until it is resumed."""
    return answer(services().core.actions.pause(path.job_id))


@jobs.does(f"/<{ID}:job_id>/save", JobDetailView)
def save_job(path: JobPath) -> Response:
    """Write a checkpoint at the next step."""
    return answer(services().core.actions.save(path.job_id))


@jobs.does(f"/<{ID}:job_id>/preview", JobDetailView)
def preview_job(path: JobPath) -> Response:
    """Make a preview at the next step."""
    return answer(services().core.actions.preview(path.job_id))


@jobs.reads(f"/<{ID}:job_id>/resume", ResumeSummaryView)
def get_resume(path: JobPath, query: ResumeRequest) -> Response:
    """Tell what a resume would do."""
    return answer(services().core.actions.resume_summary(path.job_id, query))


@jobs.does(f"/<{ID}:job_id>/resume", JobDetailView)
def resume_job(path: JobPath, body: ResumeRequest) -> Response:
    """Queue the job again, to go on from its newest valid checkpoint or the one that is named."""
    parts = services()
    if body.checkpoint and parts.core.actions.resume_summary(path.job_id, body).possible:
        parts.pins.put_back(path.job_id, body.checkpoint)
    return answer(parts.core.actions.resume(path.job_id, body))


@jobs.does(f"/<{ID}:job_id>/retry", JobDetailView)
def retry_job(path: JobPath) -> Response:
    """Queue a failed, cancelled or paused job again, to go on from its newest checkpoint, or from the start."""
    return answer(services().core.actions.retry(path.job_id))


@jobs.does(f"/<{ID}:job_id>/hold", JobDetailView)
def hold_job(path: JobPath) -> Response:
    """Keep a queued job from starting until it is released."""
    return answer(services().core.actions.hold(path.job_id))


@jobs.does(f"/<{ID}:job_id>/release", JobDetailView)
def release_job(path: JobPath) -> Response:
    """Let a held job start when its turn comes."""
    return answer(services().core.actions.release(path.job_id))


@jobs.does(f"/<{ID}:job_id>/next", JobDetailView)
def run_job_next(path: JobPath) -> Response:
    """Put a waiting job before all others; a held one is released."""
    return answer(services().core.actions.next(path.job_id))


@jobs.does(f"/<{ID}:job_id>/move", JobDetailView)
def move_job(path: JobPath, body: MoveRequest) -> Response:
    """Give a waiting job another place in the queue."""
    return answer(services().core.actions.move(path.job_id, body))


@jobs.does(f"/<{ID}:job_id>/edit", JobDetailView)
def edit_job(path: JobPath, body: EditRequest) -> Response:
    """Change a job that has not ended; one at work that may no longer run where it does saves and goes on elsewhere."""
    return answer(services().edits.edit(path.job_id, body))


@jobs.does(f"/<{ID}:job_id>/duplicate", JobDetailView, status=201)
def duplicate_job(path: JobPath, body: DuplicateRequest) -> Response:
    """Submit the same again."""
    return answer(services().edits.duplicate(path.job_id, body, by=submitter()), 201)


@jobs.reads(f"/<{ID}:job_id>/events", EventListView)
def list_events(path: JobPath, query: EventsQuery) -> Response:
    """The recorded events with numbers above `after`."""
    types = [name for name in query.types.split(",") if name]
    return answer(services().core.jobs.events(path.job_id, after=query.after, limit=query.limit, types=types))


def _states(text: str) -> list[JobState]:
    try:
        return [JobState(name) for name in text.split(",") if name]
    except ValueError as error:
        known = ", ".join(JobState)
        raise ConfigError(f"state: use some of {known}.", field="state") from error
