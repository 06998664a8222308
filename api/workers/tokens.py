"""Tokens: secrets that let a worker join from another machine. Only their SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.record.database import Database
from api.record.tables import Token
from api.views import NewTokenView, TokenView
from shared.errors import AccessError, NotFoundError

TokenRole = Literal["worker"]

_PREFIX: Final = "spt_"
"""Tells people, and scanners for leaked secrets, what it is."""
_USED_EVERY_S: Final = 60.0
"""The time of the last use is written no more often than this."""


class Tokens:
    """All tokens of the record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, *, name: str, role: TokenRole = "worker", expires_at: float | None = None) -> NewTokenView:
        """Make a token; its secret is in the answer and nowhere else."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        with self._database.session() as session:
            row = Token(name=name, role=role, sha256=_sha256(secret), created_at=time.time(), expires_at=expires_at)
            session.add(row)
            session.flush()
            return NewTokenView(secret=secret, **token_view(row).model_dump())

    def list(self) -> list[TokenView]:
        """All tokens, newest first, without their secrets."""
        with self._database.reading() as session:
            return [token_view(row) for row in session.scalars(select(Token).order_by(Token.id.desc()))]

    def revoke(self, token_id: int) -> TokenView:
        """Make a token worthless from now on; raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(Token, token_id)
            if row is None:
                raise NotFoundError(f"There is no token {token_id}.")
            row.revoked_at = row.revoked_at or time.time()
            return token_view(row)

    def verify(self, secret: str, role: TokenRole) -> TokenView:
        """The token with that secret; raises AccessError where there is none, or none that counts any more."""
        with self._database.reading() as session:
            row = _find(session, secret)
            if row is None or row.role != role:
                raise AccessError("This token is not known here: make one with `spectrain token create --worker`.")
            if row.revoked_at is not None:
                raise AccessError(f"The token {row.name!r} was revoked: make a new one.")
            if row.expires_at is not None and row.expires_at < time.time():
                raise AccessError(f"The token {row.name!r} has expired: make a new one.")
            view = token_view(row)
        if time.time() - (view.last_used_at or 0.0) > _USED_EVERY_S:
            # A full disk must not keep a worker from reading.
            with suppress(SQLAlchemyError), self._database.session() as session:
                if (used := session.get(Token, view.id)) is not None:
                    used.last_used_at = time.time()
        return view


def bearer(header: str | None) -> str:
    """The secret in an Authorization header; raises AccessError where there is none."""
    scheme, _, secret = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise AccessError("This needs a token: send it as `Authorization: Bearer TOKEN`.")
    return secret.strip()


def token_view(row: Token) -> TokenView:
    """A token as it may be shown."""
    return TokenView(
        id=row.id,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def _find(session: Session, secret: str) -> Token | None:
    """The index finds the row by its hash; the comparison that decides takes the same time for any input."""
    wanted = _sha256(secret)
    row = session.scalar(select(Token).where(Token.sha256 == wanted))
    return row if row is not None and hmac.compare_digest(row.sha256, wanted) else None


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
