"""Socket.IO: browsers join the room of a job, or of the queue; the relay speaks into the rooms.

Every emit of a client is answered: {"ok": true}, or {"error": sentence}. A client that does not keep up is cut off
when too much has waited for it for too long, so that nothing piles up here: it connects again by itself and fetches
what it missed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, cast

import structlog
from flask import request
from flask_socketio import SocketIO, join_room, leave_room, rooms

from api.record.jobs import JobRecord
from shared.errors import NotFoundError

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

log = structlog.get_logger(__name__)


def make_sockets(jobs: JobRecord) -> SocketIO:
    """The server of the sockets; `init_app` binds it to an application."""
    sockets = SocketIO(
        async_mode="threading",
        async_handlers=False,
        manage_session=False,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
        max_http_buffer_size=MAX_MESSAGE_BYTES,
    )

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

    for handler in (watch, unwatch, watch_queue):
        sockets.on_event(handler.__name__, handler)
    sockets.on_error_default(on_error)
    return sockets


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


def _job_id(data: object) -> int | None:
    job_id = cast(dict[str, object], data).get("job") if isinstance(data, dict) else None
    return job_id if isinstance(job_id, int) and not isinstance(job_id, bool) and 0 < job_id < 2**31 else None
