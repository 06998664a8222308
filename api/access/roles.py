"""Roles: what the holder of a token is. What each may do is the table in `api/routes/access.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a token makes of who shows it."""

    ADMIN = "admin"
    """May do everything that a person can do."""
    MEMBER = "member"
    """May look, and submit, upload, change and stop work."""
    VIEWER = "viewer"
    """May look."""
    WORKER = "worker"
    """A machine: joins, reads and writes what jobs need, and nothing else."""


_INCLUDED: Final = {
    Role.ADMIN: frozenset({Role.ADMIN, Role.MEMBER, Role.VIEWER}),
    Role.MEMBER: frozenset({Role.MEMBER, Role.VIEWER}),
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.WORKER: frozenset({Role.WORKER}),
}
"""An administrator is no worker: a token that lies on a machine of somebody else must be able to do little."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks."""

    role: Role
    name: str
    """Of the token."""
    token_id: int | None = None
    """None for the person at this machine, where nobody has to log in."""
    session_sha256: str = ""
    """Of a browser's session; empty where the token itself was shown."""
    csrf: str = ""
    """What a page of that session shows with everything that changes something."""

    def may(self, wanted: Role) -> bool:
        """Whether that is enough for what `wanted` may do."""
        return wanted in _INCLUDED[self.role]


LOCAL: Final = Identity(role=Role.ADMIN, name="this machine")
"""Who asks a server that nobody else reaches."""
