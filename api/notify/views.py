"""What the HTTP API answers about notifications. Times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.record.notices import Occasion
from shared.config import Frozen


class TargetRequest(Frozen):
    """Ask to be told."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    """http:// or https:// for a webhook; else what apprise calls it, such as mailto://…, ntfy://…, discord://…"""
    on: Annotated[tuple[Occasion, ...], Field(min_length=1, max_length=3)] = ("finished", "failed", "attention")
    """Of what."""
    job: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Of this job alone; unset for all of them."""


class TargetView(Frozen):
    """Somebody who is told."""

    id: int
    where: str
    """Kind and host of its address; the rest is secret."""
    on: list[Occasion]
    job: int | None
    created_at: float
    waiting: int
    """Notifications that have not been delivered yet."""
    last_error: str = ""
    """Why the newest try failed; empty when it did not."""


class NewTargetView(TargetView):
    """A target that was just made: the only time that its secret is told."""

    secret: str
    """Webhooks are signed with it: X-Spectrain-Signature is sha256=HMAC-SHA256(secret, timestamp + "." + body)."""


class TargetListView(Frozen):
    targets: list[TargetView]


class DeliveryView(Frozen):
    """What became of a try."""

    delivered: bool
    error: str = ""
