"""What a log line says of the request that it is about: an id that the answer carries too, and the job if there is one.

A proxy, or whoever asks, may give the id as X-Request-ID, so that one id leads through the logs of all of them.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER: Final = "X-Request-ID"
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")
_QUIET_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_NO_ROUTE: Final = "page or nothing"
"""In place of addresses that anybody may make up."""

log = structlog.get_logger(__name__)


class RequestIds:
    """WSGI middleware around everything that answers."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on with its id bound to the log lines of this thread, until its next request."""
        given = str(environ.get("HTTP_X_REQUEST_ID", ""))
        request_id = given if _WELL_FORMED.fullmatch(given) else secrets.token_hex(8)
        clear_contextvars()
        bind_contextvars(request=request_id)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, (HEADER, request_id)], *error)

        return self._application(environ, start)


class Answered(Protocol):
    """Who counts the requests."""

    def __call__(self, *, method: str, route: str, status: int, seconds: float) -> None: ...


def follow_requests(app: Flask, answered: Answered) -> None:
    """Have every request of `app` counted and logged once it is answered: as info where it changed something."""

    def begin() -> None:
        g.began_at = time.monotonic()
        job_id = (request.view_args or {}).get("job_id")
        if job_id is not None:
            bind_contextvars(job=job_id)

    def end(response: Response) -> Response:
        seconds, status, rule = time.monotonic() - g.began_at, response.status_code, request.url_rule
        if rule is None:
            answered(method="other", route=_NO_ROUTE, status=status, seconds=seconds)
        else:
            answered(method=request.method, route=rule.rule, status=status, seconds=seconds)
        write = log.debug if request.method in _QUIET_METHODS and status < 500 else log.info
        write("request.answered", method=request.method, path=request.path, status=status, seconds=round(seconds, 4))
        return response

    app.before_request(begin)
    app.after_request(end)
