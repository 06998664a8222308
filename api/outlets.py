"""Outlets: how live events leave for hundreds of browsers from one thread.

A WebSocket's frame from a server is the same for everybody, so an event is encoded once and put straight into each
connection; what one of them does not take at once waits, in order, for a single thread that watches for room. A thread
for each browser that is woken for each event would cost many times as much: all of them want the interpreter.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from typing import Any, Final, cast

from engineio.async_drivers.threading import SimpleWebSocketWSGI
from typing_extensions import override

BEHIND_S: Final = 30.0
"""Longest time that something may wait for a browser all the while: after a burst it catches up in between."""
MAX_WAITING_BYTES: Final = 2 << 20
"""What may wait for one browser at all."""
_LOOK_EVERY_S: Final = 0.1
_LONG: Final = 126
_LONGER: Final = 127
_SOCKET: Final = "gunicorn.socket"


def text_frame(text: str) -> bytes:
    """`text` as a whole WebSocket message from a server (RFC 6455, section 5.2): final, of type text, not masked."""
    content = text.encode()
    size = len(content)
    if size < _LONG:
        return struct.pack("!BB", 0x81, size) + content
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, _LONG, size) + content
    return struct.pack("!BBQ", 0x81, _LONGER, size) + content


class Outlet:
    """A browser's connection: what is put into it never waits. It stands in for the socket, and is closed as one."""

    def __init__(self, connection: socket.socket, pump: Pump) -> None:
        self._connection = connection
        self._pump = pump
        self._lock = threading.Lock()
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._waits_since = 0.0
        self._closed = False

    def put(self, frame: bytes) -> None:
        """Send `frame`, at once or as soon as there is room behind what waits already."""
        with self._lock:
            if self._closed:
                return
            rest = memoryview(frame)
            if not self._waiting:
                rest = rest[self._take(rest) :]
                if not rest:
                    return
                self._waits_since = time.monotonic()
                self._pump.watch(self)
            self._waiting.append(rest)
            self._waiting_bytes += len(rest)

    def flush(self) -> bool:
        """Send what there is room for; returns whether anything still waits."""
        with self._lock:
            while self._waiting:
                first = self._waiting[0]
                taken = self._take(first)
                self._waiting_bytes -= taken
                if taken < len(first):
                    self._waiting[0] = first[taken:]
                    return True
                self._waiting.popleft()
            return False

    @property
    def is_behind(self) -> bool:
        """Whether its browser does not keep up."""
        with self._lock:
            if not self._waiting:
                return False
            return self._waiting_bytes > MAX_WAITING_BYTES or time.monotonic() - self._waits_since > BEHIND_S

    def cut(self) -> None:
        """End the connection without a farewell, which would have to wait behind the rest."""
        with self._lock:
            self._drop()

    # What a WebSocket needs of a socket.

    def recv(self, size: int) -> bytes:
        """Bytes from the browser; waits for them."""
        return self._connection.recv(size)

    def send(self, data: bytes) -> int:
        """The same as `put`, for what the WebSocket itself has to say."""
        if self._closed:
            raise BrokenPipeError("The connection is closed.")
        self.put(data)
        return len(data)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            self._drop()
            self._connection.close()

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._connection.fileno()

    def _take(self, data: memoryview) -> int:
        """How many bytes of `data` the system took; all of them where nobody will ever read them."""
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._closed = True
            return len(data)

    def _drop(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):  # its browser was faster
                self._connection.shutdown(socket.SHUT_RDWR)  # whoever reads from it wakes up
        self._waiting.clear()
        self._waiting_bytes = 0


class Pump:
    """One thread that sends what outlets could not send at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lagging: set[Outlet] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, outlet: Outlet) -> None:
        """Something waits in `outlet`."""
        with self._lock:
            self._lagging.add(outlet)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            with self._lock:
                lagging = {outlet.fileno(): outlet for outlet in self._lagging}
            for outlet in self._with_room(lagging):
                if not outlet.flush():
                    with self._lock:
                        self._lagging.discard(outlet)
                    if outlet.flush():  # something came to wait in between
                        self.watch(outlet)
            with self._lock:
                self._lagging = {outlet for outlet in self._lagging if outlet.fileno() >= 0}
                if not self._lagging:
                    self._wake.clear()

    def _with_room(self, lagging: dict[int, Outlet]) -> list[Outlet]:
        poll = select.poll()
        for number in lagging:
            if number >= 0:
                poll.register(number, select.POLLOUT)
        return [lagging[number] for number, _ in poll.poll(_LOOK_EVERY_S * 1000)]


def websocket_class(pump: Pump) -> type[SimpleWebSocketWSGI]:
    """What engineio answers a WebSocket's request with: it leaves an outlet with the browser's connection."""

    class OutletWebSocket(SimpleWebSocketWSGI):
        @override
        def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
            connection = environ.get(_SOCKET)
            if isinstance(connection, socket.socket):
                outlet = Outlet(connection, pump)
                environ = {**environ, _SOCKET: outlet}
                # Compressing would make a frame another one for each browser.
                environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
                cast(Any, self.app).__self__.outlet = outlet
            return super().__call__(environ, start_response)

    return OutletWebSocket
