"""The door: who sends a request, by bearer token or by a browser's session.

Where nobody else reaches the server, whoever asks is the person at this machine. A request that a proxy passed on is
not from there, whatever address it came from.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog
from werkzeug.http import parse_cookie

from api.access.limits import Limit
from api.access.roles import LOCAL, Identity, Role
from api.access.tokens import Tokens, bearer
from shared.addresses import is_loopback
from shared.errors import AccessError, ForbiddenError, TooManyError
from shared.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FAILURES_PER_MINUTE: Final = 10
_PASSED_ON: Final = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
_IPV6_NETWORK: Final = 64
"""Bits of an address that name whose it is; the rest its holder chooses."""

log = structlog.get_logger(__name__)


class Door:
    """Knows who asks. Raises AccessError for who may not, TooManyError for who has tried too often."""

    def __init__(self, tokens: Tokens, settings: Settings) -> None:
        self._tokens = tokens
        self._needs_login = settings.needs_login
        self._cookie = f"spectrain_{settings.port}"
        self._failures = Limit("Too many tries with wrong tokens", FAILURES_PER_MINUTE)

    def is_open(self, environ: WSGIEnvironment) -> bool:
        """Whether the request comes from the person at this machine, who need not log in."""
        return not self._needs_login and not any(name in environ for name in _PASSED_ON)

    def who(self, environ: WSGIEnvironment, wanted: Role) -> Identity:
        """Who asks for what `wanted` may do; raises ForbiddenError for somebody who may not."""
        identity = LOCAL if wanted is not Role.WORKER and self.is_open(environ) else self._shown(environ, wanted)
        if not identity.may(wanted):
            raise ForbiddenError(_refusal(identity, wanted))
        return identity

    def known(self, environ: WSGIEnvironment, wanted: Role) -> Identity | None:
        """Who asks, where that is somebody who may; nobody is counted for not saying it."""
        if not self.is_open(environ) and not environ.get("HTTP_AUTHORIZATION") and not self._session(environ):
            return None
        try:
            return self.who(environ, wanted)
        except (AccessError, TooManyError):
            return None

    def log_in(self, environ: WSGIEnvironment, secret: str) -> str:
        """Begin the session of a browser that shows a token on the login page; returns the session's secret."""
        # Before the token is looked at: a page that guesses learns nothing from what comes after.
        self._failures.check(address_of(environ))
        identity = self._try(environ, secret)
        if not identity.may(Role.VIEWER):
            raise ForbiddenError("This token is for a machine: people log in with one of their own.")
        log.info("access.logged_in", token=identity.token_id, address=address_of(environ))
        # Whoever had the cookie of the login before has nothing of this one, nor of that.
        self.log_out(environ)
        return self._tokens.begin_session(identity)

    def log_out(self, environ: WSGIEnvironment) -> None:
        """End the session of the browser that asks."""
        if secret := self._session(environ):
            self._tokens.end_session(secret)

    def ended(self, identities: Iterable[Identity]) -> set[Identity]:
        """Those who may nothing any more."""
        return self._tokens.ended(identities)

    def cookie(self, *, secure: bool) -> str:
        """Name of the session's cookie. Cookies know no ports, and two servers of one machine must not share theirs."""
        return f"__Host-{self._cookie}" if secure else self._cookie

    def _shown(self, environ: WSGIEnvironment, wanted: Role) -> Identity:
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None and wanted is not Role.WORKER and (secret := self._session(environ)):
            # A session that ended is nobody's guess.
            return self._tokens.session_holder(secret)
        if header is None and wanted is not Role.WORKER:
            raise AccessError("Log in first, or send a token as `Authorization: Bearer TOKEN`.")
        return self._try(environ, bearer(header))

    def _try(self, environ: WSGIEnvironment, secret: str) -> Identity:
        """Whose token `secret` is. One that counts is always taken, also after others of that address failed."""
        try:
            return self._tokens.holder(secret)
        except AccessError as error:
            self._failures.take(address_of(environ))
            log.warning("access.refused", address=address_of(environ), error=str(error))
            raise

    def _session(self, environ: WSGIEnvironment) -> str:
        cookies = parse_cookie(environ)
        return cookies.get(self.cookie(secure=True)) or cookies.get(self.cookie(secure=False)) or ""


def check_csrf(identity: Identity, shown: str) -> None:
    """Raise ForbiddenError where a browser's session asks for a change and not a page of it."""
    if identity.session_sha256 and not hmac.compare_digest(identity.csrf.encode(), shown.encode()):
        raise ForbiddenError("This page is of another login: reload it, and try again.")


def address_of(environ: WSGIEnvironment) -> str:
    """Who is counted for tries: the address, as the proxy of this machine tells it where there is one."""
    address = str(environ.get("REMOTE_ADDR", ""))
    if is_loopback(address):
        # The last one is what the proxy saw; those before it anybody may have written.
        address = str(environ.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip() or address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed)


def _refusal(identity: Identity, wanted: Role) -> str:
    if wanted is Role.WORKER:
        return "This is for workers: show a token that was made with `spectrain token create --role worker`."
    if identity.role is Role.WORKER:
        return "A worker's token lets a machine work and nothing else: people need one of their own."
    return f"This needs the role {wanted}, and the token {identity.name!r} has {identity.role}: ask an administrator."
