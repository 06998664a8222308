"""Socket.IO: browsers join the room of a job, or of the queue; the relay speaks into the rooms.

Nobody connects or sends an event whom the table in `api.routes.access` does not let, and who may no longer is cut off.
Every emit of a client is answered: {"ok": true}, or {"error": sentence}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from flask import request
from flask_socketio import SocketIO, join_room, leave_room, rooms
from redis.exceptions import RedisError
from socketio.exceptions import ConnectionRefusedError as Refused
from typing_extensions import override

from api.access.door import Door
from api.access.roles import Identity
from api.answers import answer_of
from api.background import Background
from api.outlets import Pump, websocket_class
from api.record.jobs import JobRecord
from api.rooms import QUEUE_ROOM, room_of
from api.routes.access import EVENTS, check_table
from shared.errors import AccessError, NotFoundError, TooManyError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_ROOMS: Final = 256
"""Jobs that one client may watch."""
PING_INTERVAL_S: Final = 10
PING_TIMEOUT_S: Final = 20
MAX_MESSAGE_BYTES: Final = 16_384
"""Largest message of a client; none has reason to be long."""
_LOOK_EVERY_S: Final = 5.0
_WHO: Final = "spectrain.who"
"""Where a request's environment has who sends it."""

_Handler = Callable[[object], dict[str, object]]

log = structlog.get_logger(__name__)


class Connected:
    """Who is behind each connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._who: dict[str, Identity] = {}

    def come(self, sid: str, environ: WSGIEnvironment) -> None:
        """Let a connection in, as whom `SocketDoor` has found behind its first request; raises AccessError."""
        self._who[sid] = environ.get(_WHO) or self._door.who(environ, EVENTS["connect"])

    def gone(self, sid: str) -> None:
        """Forget a connection."""
        self._who.pop(sid, None)

    def may(self, sid: str, event: str) -> bool:
        """Whether a connection may send `event`, now."""
        identity = self._who.get(sid)
        return identity is not None and identity.may(EVENTS[event]) and not self._door.ended([identity])

    def ended(self) -> list[str]:
        """Connections of those who may nothing any more."""
        there = dict(self._who)
        ended = self._door.ended(there.values())
        return [sid for sid, identity in there.items() if identity in ended]


def make_sockets(
    jobs: JobRecord, newest: Callable[[Sequence[int]], Mapping[int, int]], connected: Connected
) -> SocketIO:
    """The server of the sockets; `init_app` binds it to an application.

    `newest` gives the numbers of jobs' newest events; it raises redis.RedisError while Redis is away.
    """
    sockets = SocketIO(
        async_mode="threading",
        async_handlers=False,
        manage_session=False,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
        max_http_buffer_size=MAX_MESSAGE_BYTES,
    )

    def connect(_auth: object = None) -> None:
        try:
            connected.come(_sid(), request.environ)
        except (AccessError, TooManyError) as error:
            raise Refused(str(error)) from error

    def disconnect(_reason: object = None) -> None:
        connected.gone(_sid())

    def watch(data: object = None) -> dict[str, object]:
        job_id = _job_id(data)
        if job_id is None:
            return {"error": 'Send {"job": <number of the job>}.'}
        if len(rooms()) > MAX_ROOMS:
            return {"error": f"At most {MAX_ROOMS} jobs can be watched at once: unwatch some."}
        try:
            jobs.get(job_id)
        except NotFoundError as error:
            return {"error": str(error)}
        join_room(room_of(job_id))
        # All that follows comes live; what came before may not be recorded yet, and has to be waited for.
        try:
            return {"ok": True, "last": newest([job_id])[job_id]}
        except RedisError:
            return {"ok": True, "last": 0}  # once Redis is back, the relay tells

    def unwatch(data: object = None) -> dict[str, object]:
        job_id = _job_id(data)
        if job_id is None:
            return {"error": 'Send {"job": <number of the job>}.'}
        leave_room(room_of(job_id))
        return {"ok": True}

    def watch_queue(_data: object = None) -> dict[str, object]:
        join_room(QUEUE_ROOM)
        return {"ok": True}

    def on_error(error: BaseException) -> dict[str, object]:
        event = cast(Mapping[str, Any], getattr(request, "event", {})).get("message", "")
        log.error("socket.crashed", message=event, exc_info=error)
        return {"error": "Something went wrong in the api; its log has the details."}

    def asking(handler: _Handler) -> _Handler:
        def ask(data: object = None) -> dict[str, object]:
            if not connected.may(_sid(), handler.__name__):
                return {"error": "Your login has ended, or does not go so far: log in again."}
            return handler(data)

        return ask

    handlers = (watch, unwatch, watch_queue)
    check_table(EVENTS, ("connect", *(handler.__name__ for handler in handlers)), "event")
    sockets.on_event("connect", connect)
    sockets.on_event("disconnect", disconnect)
    for handler in handlers:
        sockets.on_event(handler.__name__, asking(handler))
    sockets.on_error_default(on_error)
    return sockets


class SocketDoor:
    """WSGI middleware that keeps strangers from opening sockets at all: each costs threads, joined to a room or not."""

    def __init__(self, application: WSGIApplication, door: Door) -> None:
        self._application = application
        self._door = door

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or answer 401, 403 or 429."""
        if str(environ.get("PATH_INFO", "")).startswith("/socket.io"):
            try:
                environ[_WHO] = self._door.who(environ, EVENTS["connect"])
            except (AccessError, TooManyError) as error:
                return answer_of(error)(environ, start_response)
        return self._application(environ, start_response)


class SocketAccess(Background):
    """Cuts off, at once when it is woken, the connections of those who may nothing any more."""

    def __init__(self) -> None:
        super().__init__("access", every_s=_LOOK_EVERY_S)
        self.look: Callable[[], None] = lambda: None
        """Set by the application once it has its sockets."""

    @override
    def work(self) -> None:
        self.look()


def cut_off(sockets: SocketIO, connected: Connected) -> None:
    """End the connections of those whose token or session has ended."""
    server = cast(Any, sockets).server
    for sid in connected.ended():
        engine_sid = server.manager.eio_sid_from_sid(sid, "/")
        connected.gone(sid)
        server.disconnect(sid)
        # A client of bad will would not close what is below.
        connection = server.eio.sockets.get(engine_sid)
        if connection is not None:
            connection.close(wait=False)


def use_outlets(sockets: SocketIO) -> None:
    """Give every WebSocket from now on an outlet; after `init_app`."""
    server = cast(Any, sockets).server.eio
    server._async = {**server._async, "websocket": websocket_class(Pump())}


def open_sockets(sockets: SocketIO) -> int:
    """How many clients are connected."""
    return len(cast(Any, sockets).server.eio.sockets)


def _sid() -> str:
    return str(cast(Any, request).sid)


def _job_id(data: object) -> int | None:
    job_id = cast(dict[str, object], data).get("job") if isinstance(data, dict) else None
    return job_id if isinstance(job_id, int) and not isinstance(job_id, bool) and 0 < job_id < 2**31 else None
