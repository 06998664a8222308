"""Workers that are online."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.views import WorkerListView

workers = Resource("workers", f"{API}/workers")


@workers.reads("", WorkerListView)
def list_workers() -> Response:
    """List workers by name."""
    return answer(WorkerListView(workers=services().core.workers.list()))
