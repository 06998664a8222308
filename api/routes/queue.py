"""The queue as a whole: paused or not."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.views import QueueView

queue = Resource("queue", f"{API}/queue")


@queue.reads("", QueueView)
def get_queue() -> Response:
    """Tell whether the queue is paused."""
    return answer(services().core.queue.view())


@queue.does("/pause", QueueView)
def pause_queue() -> Response:
    """Start nothing that waits; what runs goes on."""
    return answer(services().core.queue.pause())


@queue.does("/resume", QueueView)
def resume_queue() -> Response:
    """Start what waits again."""
    return answer(services().core.queue.resume())
