"""Rooms of the live connection: `job:<id>` for those who watch a job, `queue` for those who see the queue.

What is said in a room is encoded once for everybody in it. A client that does not keep up is cut off when too much has
waited for it for too long, so that nothing piles up here: it connects again by itself and fetches what it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import structlog
from engineio import packet as eio_packet
from flask_socketio import SocketIO
from pydantic_core import to_json
from socketio import packet

from api.outlets import MAX_WAITING_BYTES, Outlet, text_frame

QUEUE_ROOM: Final = "queue"
_JOB_ROOM: Final = "job:"
_MANY_WAITING: Final = 64
"""Fewer messages in Engine.IO's queue are not looked at."""

log = structlog.get_logger(__name__)


def room_of(job_id: int) -> str:
    """The room of those who watch a job."""
    return f"{_JOB_ROOM}{job_id}"


class RoomEmitter:
    """Speaks into rooms, and cuts off those who do not keep up."""

    def __init__(self, sockets: SocketIO) -> None:
        self._sockets = sockets

    def __call__(self, event: str, data: Mapping[str, Any], room: str) -> None:
        """Send `data` as `event` to everybody in `room`."""
        there = self._there(room)
        if not there:
            return
        server = cast(Any, self._sockets).server
        # As a packet of the server's would be, which costs ten times as much: it looks for bytes in each list.
        text = f"{packet.EVENT}{to_json([event, data]).decode()}"
        message, frame = eio_packet.Packet(eio_packet.MESSAGE, text), b""
        for engine_sid in there:
            connection = server.eio.sockets.get(engine_sid)
            outlet = _outlet(connection)
            if outlet is None:
                if connection is not None and _is_behind(connection):
                    _cut_off(connection)
                else:
                    server._send_eio_packet(engine_sid, message)
            elif outlet.is_behind:
                log.warning("socket.behind")
                outlet.cut()
            else:
                frame = frame or text_frame(str(message.encode()))
                outlet.put(frame)

    def hears(self, room: str) -> bool:
        """Whether anybody is in `room`."""
        return bool(self._there(room))

    def watched(self) -> list[int]:
        """Jobs that somebody watches."""
        rooms = list(cast(Any, self._sockets).server.manager.rooms.get("/", {}))
        return [int(room.removeprefix(_JOB_ROOM)) for room in rooms if str(room).startswith(_JOB_ROOM)]

    def _there(self, room: str) -> list[str]:
        participants = cast(Any, self._sockets).server.manager.get_participants("/", room)
        return [engine_sid for _, engine_sid in participants]


def _outlet(connection: Any) -> Outlet | None:
    """The way around Engine.IO's queue; None before a WebSocket is open, and while something waits in that queue."""
    outlet: Outlet | None = getattr(connection, "outlet", None)
    if outlet is None or connection.upgrading or not connection.upgraded or not connection.queue.empty():
        return None
    return outlet


def _is_behind(connection: Any) -> bool:
    """Whether a browser that asks again and again, because it cannot have a WebSocket, does not keep up."""
    if connection.queue.qsize() < _MANY_WAITING:
        return False
    waiting = [each for each in list(connection.queue.queue) if each is not None]
    return sum(len(each.data or "") for each in waiting) > MAX_WAITING_BYTES


def _cut_off(connection: Any) -> None:
    log.warning("socket.behind")
    # Without a farewell, which would have to wait behind the rest.
    connection.close(wait=False, abort=True)
