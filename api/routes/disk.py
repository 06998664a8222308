"""What all that is kept takes, and what of it nobody needs."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from api.answers import answer
from api.keeping.garbage import FRESH_S
from api.keeping.views import CollectedView, DiskView, GarbageView
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from shared.config import Frozen

disk = Resource("disk", f"{API}/disk")


class GarbageQuery(Frozen):
    """Which garbage."""

    fresh_s: Annotated[float, Field(ge=0, le=86_400 * 365)] = FRESH_S
    """What changed within so many seconds stays."""


@disk.reads("", DiskView)
def get_disk() -> Response:
    """What the artifact store takes, kind by kind."""
    return answer(services().disk_use.total())


@disk.reads("/garbage", GarbageView)
def get_garbage(query: GarbageQuery) -> Response:
    """Tell what the store holds that nobody needs, and why."""
    return answer(services().garbage.preview(fresh_s=query.fresh_s))


@disk.does("/garbage/collect", CollectedView)
def collect_garbage(body: GarbageQuery) -> Response:
    """Remove what nobody needs; safe while everything runs."""
    parts = services()
    collected = parts.garbage.collect(fresh_s=body.fresh_s)
    parts.disk_use.forget()
    return answer(collected)
