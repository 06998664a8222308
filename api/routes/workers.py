"""Workers: all that were ever seen, and what a person decides about them. Names have slashes, so bodies carry them."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.views import LabelsRequest, WorkerListView, WorkerRequest, WorkerView

workers = Resource("workers", f"{API}/workers")


@workers.reads("", WorkerListView)
def list_workers() -> Response:
    """List workers by name, offline ones too."""
    return answer(WorkerListView(workers=services().core.workers.list()))


@workers.does("/drain", WorkerView)
def drain_worker(body: WorkerRequest) -> Response:
    """Let a worker finish what it does and get no more."""
    return answer(services().core.workers.drain(body.worker))


@workers.does("/resume", WorkerView)
def resume_worker(body: WorkerRequest) -> Response:
    """Let a drained worker get jobs again."""
    return answer(services().core.workers.resume(body.worker))


@workers.does("/labels", WorkerView)
def label_worker(body: LabelsRequest) -> Response:
    """Give a worker these labels in place of those that it was given before; its own ones stay."""
    return answer(services().core.workers.label(body.worker, body.labels))


@workers.does("/remove", WorkerListView)
def remove_worker(body: WorkerRequest) -> Response:
    """Forget a worker that is offline, or drained and idle; it comes back when it is started again."""
    services().core.workers.remove(body.worker)
    return answer(WorkerListView(workers=services().core.workers.list()))
