"""What the HTTP API answers of tokens, and of who asks. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shared.config import Frozen

TOKEN_DAYS: Final = 30.0
"""A token counts for so long where nobody says how long it shall."""


class TokenView(Frozen):
    """A token, without its secret."""

    id: int
    name: str
    role: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class NewTokenView(TokenView):
    """A token that was just made: the only time that its secret is told."""

    secret: str
    command: str = ""
    """The line to paste on the machine that is to join; empty for a person's token."""
    note: str = ""
    """What keeps other machines from joining as this server runs; empty when nothing does."""


class SessionView(Frozen):
    """Who asks."""

    role: str
    """admin, member or viewer."""
    name: str
    """Of the token."""
    refused: dict[str, str] = {}
    """The routes that this role may not call, each with the least role that may."""


class TokenListView(Frozen):
    tokens: list[TokenView]
    """Newest first."""


class TokenRequest(Frozen):
    """Ask for a token."""

    role: Literal["admin", "member", "viewer", "worker"] = "worker"
    """What its holder is: worker for a machine that joins, the others for people and their programs."""
    name: Annotated[str, Field(max_length=200)] = ""
    """Whom or what it is for; empty for a name made of role and time."""
    days: Annotated[float, Field(gt=0, le=3650)] | None = TOKEN_DAYS
    """Days until it expires; null for never."""
