"""Tokens: secrets by which people and machines show who they are. Only their SHA-256 is kept.

A browser does not keep a token: whoever logs in with one gets a session, which ends with its token, with its logout, or
after some days.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.access.roles import Identity, Role
from api.access.views import NewTokenView, TokenView
from api.record.database import Database
from api.record.tables import BrowserSession, Token
from shared.errors import AccessError, NotFoundError

SESSION_S: Final = 14 * 86_400.0
"""A browser logs in again after so long."""

_PREFIX: Final = "spt_"
_SESSION_PREFIX: Final = "sps_"
"""They tell people, and scanners for leaked secrets, what it is; logs leave out what begins so."""
_USED_EVERY_S: Final = 60.0
"""The time of the last use is written no more often than this."""


class Tokens:
    """All tokens of the record, and the sessions that began with them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, *, name: str, role: Role = Role.WORKER, expires_at: float | None = None) -> NewTokenView:
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

    def has_admin(self) -> bool:
        """Whether anybody can log in who may make further tokens."""
        now = time.time()
        return any(token.role == Role.ADMIN and _counts(token, now) for token in self.list())

    def revoke(self, token_id: int) -> TokenView:
        """Make a token worthless from now on; raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(Token, token_id)
            if row is None:
                raise NotFoundError(f"There is no token {token_id}.")
            row.revoked_at = row.revoked_at or time.time()
            session.execute(delete(BrowserSession).where(BrowserSession.token_id == token_id))
            return token_view(row)

    def holder(self, secret: str) -> Identity:
        """Who shows the token `secret`; raises AccessError where there is none, or none that counts any more."""
        with self._database.reading() as session:
            row = _find(session, secret)
            if row is None:
                raise AccessError("This token is not known here: ask an administrator of this server for one.")
            view = token_view(row)
        _check(view)
        self._note_use(view)
        return _identity(view)

    def begin_session(self, identity: Identity) -> str:
        """Begin the session of a browser whose user has shown a token; returns its secret."""
        secret, now = _SESSION_PREFIX + secrets.token_urlsafe(32), time.time()
        with self._database.session() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.expires_at < now))
            session.add(
                BrowserSession(
                    sha256=_sha256(secret), token_id=identity.token_id, created_at=now, expires_at=now + SESSION_S
                )
            )
        return secret

    def session_holder(self, secret: str) -> Identity:
        """Whose session `secret` is; raises AccessError where it has ended."""
        sha256 = _sha256(secret)
        with self._database.reading() as session:
            row = session.get(BrowserSession, sha256)
            token = session.get(Token, row.token_id) if row is not None else None
            if row is None or token is None or row.expires_at < time.time():
                raise AccessError("You are logged out: log in again.")
            view = token_view(token)
        _check(view)
        self._note_use(view)
        return _identity(view, session_sha256=sha256, csrf=_csrf(secret))

    def end_session(self, secret: str) -> None:
        """Make a session worthless."""
        with self._database.session() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.sha256 == _sha256(secret)))

    def ended(self, identities: Iterable[Identity]) -> set[Identity]:
        """Those of `identities` whose token or session does not count any more."""
        asked = {one for one in identities if one.token_id is not None}
        if not asked:
            return asked
        now = time.time()
        with self._database.reading() as session:
            tokens = {row.id for row in session.scalars(select(Token)) if _counts(token_view(row), now)}
            sessions = set(session.scalars(select(BrowserSession.sha256).where(BrowserSession.expires_at > now)))
        return {
            one
            for one in asked
            if one.token_id not in tokens or (one.session_sha256 and one.session_sha256 not in sessions)
        }

    def _note_use(self, view: TokenView) -> None:
        if time.time() - (view.last_used_at or 0.0) <= _USED_EVERY_S:
            return
        # A full disk must not keep a worker from reading.
        with suppress(SQLAlchemyError), self._database.session() as session:
            if (used := session.get(Token, view.id)) is not None:
                used.last_used_at = time.time()


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


def _identity(view: TokenView, *, session_sha256: str = "", csrf: str = "") -> Identity:
    return Identity(role=Role(view.role), name=view.name, token_id=view.id, session_sha256=session_sha256, csrf=csrf)


def _check(view: TokenView) -> None:
    """Raise AccessError for a token that does not count any more."""
    if view.revoked_at is not None:
        raise AccessError(f"The token {view.name!r} was revoked: make a new one.")
    if not _counts(view, time.time()):
        raise AccessError(f"The token {view.name!r} has expired: make a new one.")


def _counts(view: TokenView, now: float) -> bool:
    return view.revoked_at is None and (view.expires_at is None or view.expires_at > now)


def _find(session: Session, secret: str) -> Token | None:
    """The index finds the row by its hash; the comparison that decides takes the same time for any input."""
    wanted = _sha256(secret)
    row = session.scalar(select(Token).where(Token.sha256 == wanted))
    return row if row is not None and hmac.compare_digest(row.sha256, wanted) else None


def _csrf(secret: str) -> str:
    """What pages of a session show: it follows from the session, and the session does not follow from it."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
