"""Who may talk to the api, checked before anything else sees a request.

A page on another site can make a browser send requests to a server on the person's own machine, and a name that
resolves to 127.0.0.1 (DNS rebinding) makes that page same-origin. So on loopback the Host must be a name of this
machine, and everywhere an Origin must be the server's own for methods that change something. WebSockets are checked
by Engine.IO against the same Host.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from api.answers import error_answer
from api.slow_clients import limit_silence
from shared.addresses import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Response

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SLOWEST_SEND_S: Final = 30
"""A browser that takes nothing for so long is cut off."""


class Guard:
    """WSGI middleware in front of `application`, which listens on `host`."""

    def __init__(self, application: WSGIApplication, *, host: str, allowed_hosts: Sequence[str] = ()) -> None:
        """`allowed_hosts` are further names that the server is reached by, such as a proxy's."""
        self._application = application
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        self._names |= {name.lower() for name in allowed_hosts}
        self._loopback = is_loopback(host)
        if not self._loopback:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local", socket.getfqdn().lower()}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or answer 403."""
        reason = self._refusal(environ)
        if reason:
            return error_answer(403, reason)(environ, start_response)
        _limit_sending(environ)
        return self._application(environ, start_response)

    def _is_own(self, name: str) -> bool:
        """Whether a Host header means this server. An address cannot be rebound by a hostile name server."""
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self._loopback or address.is_loopback

    def _refusal(self, environ: WSGIEnvironment) -> str:
        """Why the request is refused; empty when it is not."""
        host = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(_host_name(host)):
            return (
                "This server answers only to its own names: open it as http://localhost or by its address, or add"
                " the name to SPECTRAIN_ALLOWED_HOSTS."
            )
        if environ["REQUEST_METHOD"] in _SAFE_METHODS:
            return ""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None:
            # Not a browser, or one that says in another way that the page is its own.
            foreign = environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none")
        else:
            foreign = urlsplit(str(origin)).netloc.lower() != host.lower()
        return "A page of another site may not change anything here." if foreign else ""


def add_security_headers(response: Response) -> Response:
    """For Flask's `after_request`."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _limit_sending(environ: WSGIEnvironment) -> None:
    """Have the system give up on a WebSocket whose browser stopped reading, instead of waiting for ever."""
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket) and str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SLOWEST_SEND_S, 0))
        # It has pings of its own, which tell a silent browser from one that is gone.
        limit_silence(connection, 0)
