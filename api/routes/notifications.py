"""Who is told that a job finished, failed or needs somebody."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from api.answers import answer
from api.notify.views import DeliveryView, NewTargetView, TargetListView, TargetRequest
from api.notify.webhook import DeliveryError
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID
from api.services import services
from shared.config import Frozen

notifications = Resource("notifications", f"{API}/notifications")


class TargetPath(Frozen):
    """Addresses of a target."""

    target_id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Number of the target."""


@notifications.reads("", TargetListView)
def list_targets() -> Response:
    """List who is told, newest first, without what is secret of their addresses."""
    return answer(services().targets.list())


@notifications.does("", NewTargetView, status=201)
def create_target(body: TargetRequest) -> Response:
    """Have somebody told; the secret that webhooks are signed with is in this answer alone."""
    return answer(services().targets.create(body), 201)


@notifications.does(f"/<{ID}:target_id>/test", DeliveryView)
def try_target(path: TargetPath) -> Response:
    """Send something now, to see whether it arrives."""
    try:
        services().targets.try_out(path.target_id)
    except DeliveryError as error:
        return answer(DeliveryView(delivered=False, error=str(error)))
    return answer(DeliveryView(delivered=True))


@notifications.removes(f"/<{ID}:target_id>", TargetListView)
def remove_target(path: TargetPath) -> Response:
    """Tell a target nothing more."""
    return answer(services().targets.remove(path.target_id))
