"""What the HTTP API answers about the artifact store."""

from __future__ import annotations

from shared.config import Frozen


class StoreUploadView(Frozen):
    """An upload of an artifact."""

    received: int
    """Bytes that are there, from the first on."""
    done: bool = False
    """Whether the artifact is durable under its key."""
    busy: bool = False
    """Whether another connection feeds it, or it is just being put in its place."""


class StoreNamesView(Frozen):
    names: list[str]
    """Sorted."""


class StoreSpaceView(Frozen):
    free_bytes: int | None
    """Space left; null where the store does not tell."""
