"""Socket.IO: browsers join the room of a job, or of the queue; the relay speaks into the rooms.

Nobody connects or sends an event whom the table in `api.routes.access` does not let, and who may no longer is cut off.
Every emit of a client is answered: {"ok": true}, or {"error": sentence}. A client that does not keep up is cut off
when too much has waited for it for too long, so that nothing piles up here: it connects again by itself and fetches
what it missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from flask import request
from flask_socketio import SocketIO, join_room, leave_room, rooms
from socketio.exceptions import ConnectionRefusedError as Refused
from typing_extensions import override

from api.access.door import Door
from api.access.roles import Identity
from api.answers import error_answer
from api.background import Background
from api.record.jobs import JobRecord
from api.routes.access import EVENTS, check_table
from shared.errors import AccessError, NotFoundError, TooManyError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MANY_WAITING: Final = 64
"""Messages that wait for a client who may be falling behind."""
BEHIND_S: Final = 30.0
"""Longest time that so many may wait: after Redis was away there is a burst, which a browser works off."""
MAX_WAITING_BYTES: Final = 2 << 20
"""What may wait for one client at all."""
MAX_ROOMS: Final = 256
"""Jobs that one client may watch."""
PING_INTERVAL_S: Final = 10
PING_TIMEOUT_S: Final = 20
MAX_MESSAGE_BYTES: Final = 16_384
"""Largest message of a client; none has reason to be long."""
QUEUE_ROOM: Final = "queue"
_LOOK_EVERY_S: Final = 5.0

_Handler = Callable[[object], dict[str, object]]

log = structlog.get_logger(__name__)


class Connected:
    """Who is behind each connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._who: dict[str, Identity] = {}

    def come(self, sid: str, environ: WSGIEnvironment) -> None:
        """Let a connection in; raises AccessError."""
        self._who[sid] = self._door.who(environ, EVENTS["connect"])

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


def make_sockets(jobs: JobRecord, connected: Connected) -> SocketIO:
    """The server of the sockets; `init_app` binds it to an application."""
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
        join_room(f"job:{job_id}")
        return {"ok": True}

    def unwatch(data: object = None) -> dict[str, object]:
        job_id = _job_id(data)
        if job_id is None:
            return {"error": 'Send {"job": <number of the job>}.'}
        leave_room(f"job:{job_id}")
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
                self._door.who(environ, EVENTS["connect"])
            except (AccessError, TooManyError) as error:
                return error_answer(error.http_status, str(error))(environ, start_response)
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


def open_sockets(sockets: SocketIO) -> int:
    """How many clients are connected."""
    return len(cast(Any, sockets).server.eio.sockets)


class RoomEmitter:
    """Speaks into rooms, and cuts off those who do not keep up."""

    def __init__(self, sockets: SocketIO) -> None:
        self._sockets = sockets
        self._behind_since: dict[str, float] = {}
        """Clients for whom many messages wait, and since when."""

    def __call__(self, event: str, data: Mapping[str, Any], room: str) -> None:
        """Send `data` as `event` to everybody in `room`."""
        there = self._there(room)
        if not there:
            return
        for engine_sid in there:
            connection = cast(Any, self._sockets).server.eio.sockets.get(engine_sid)
            if connection is None or connection.queue.qsize() < MANY_WAITING:
                self._behind_since.pop(engine_sid, None)
            elif self._is_behind(engine_sid, connection):
                log.warning("socket.behind", waiting=connection.queue.qsize())
                self._behind_since.pop(engine_sid, None)
                # Without a farewell, which would have to wait behind the rest.
                connection.close(wait=False, abort=True)
        self._sockets.emit(event, data, to=room)

    def _is_behind(self, engine_sid: str, connection: Any) -> bool:
        now = time.monotonic()
        if now - self._behind_since.setdefault(engine_sid, now) > BEHIND_S:
            return True
        waiting = [packet for packet in list(connection.queue.queue) if packet is not None]
        return sum(len(packet.data or "") for packet in waiting) > MAX_WAITING_BYTES

    def hears(self, room: str) -> bool:
        """Whether anybody is in `room`."""
        return bool(self._there(room))

    def _there(self, room: str) -> list[str]:
        participants = cast(Any, self._sockets).server.manager.get_participants("/", room)
        return [engine_sid for _, engine_sid in participants]


def _sid() -> str:
    return str(cast(Any, request).sid)


def _job_id(data: object) -> int | None:
    job_id = cast(dict[str, object], data).get("job") if isinstance(data, dict) else None
    return job_id if isinstance(job_id, int) and not isinstance(job_id, bool) and 0 < job_id < 2**31 else None
