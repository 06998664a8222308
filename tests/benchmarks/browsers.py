"""Browsers as far as sockets go: `python -m tests.benchmarks.browsers URL ROOM...`, 10 for each room.

Each is a WebSocket on a thread of its own that speaks Engine.IO and Socket.IO as the page's client does: it watches one
job (or joins one room of the stock server) and notes when each event came. A line `ready` on standard output says that
all of them watch; end-of-file on standard input ends it, and a JSON object tells what came: `late_s`, the seconds
between `at` of each event and its arrival, and `numbers`, those of each browser's events in the order of arrival.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, Final

from websocket import WebSocket, WebSocketException, create_connection

PER_ROOM: Final = 10
_TIMEOUT_S: Final = 60.0


class Browser:
    """One socket; `late_s` and `numbers` grow while events come."""

    def __init__(self, url: str, room: str) -> None:
        self.room = room
        self.late_s: list[float] = []
        self.numbers: list[int] = []
        self._ready = threading.Event()
        address = f"{url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket"
        self._socket: WebSocket = create_connection(address, timeout=_TIMEOUT_S)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return once the server has answered that it watches."""
        assert self._ready.wait(_TIMEOUT_S), "the server did not answer a socket"

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._thread.join(_TIMEOUT_S)

    def _read(self) -> None:
        try:
            while True:
                message = self._socket.recv()
                if isinstance(message, bytes) or not message:
                    return
                self._take(message, time.time())
        except (WebSocketException, OSError):
            return  # closed

    def _take(self, message: str, now: float) -> None:
        if message.startswith("0"):  # the transport is open: connect to the namespace
            self._socket.send("40")
        elif message == "2":
            self._socket.send("3")
        elif message.startswith("40"):
            self._socket.send(f'421["watch",{{"job":{self.room}}}]')
        elif message.startswith("43"):
            assert json.loads(message[message.index("[") :]) == [{"ok": True}], message
            self._ready.set()
        elif message.startswith("42"):
            name, event = json.loads(message[2:])
            if name == "event":
                self._note(event, now)

    def _note(self, event: dict[str, Any], now: float) -> None:
        self.late_s.append(now - float(event["at"]))
        self.numbers.append(int(event["number"]))


def main() -> None:
    """Entry."""
    url, *rooms = sys.argv[1:]
    browsers = [Browser(url, room) for room in rooms for _ in range(PER_ROOM)]
    for browser in browsers:
        browser.wait_until_ready()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    for browser in browsers:
        browser.close()
    told = {
        "late_s": [late for browser in browsers for late in browser.late_s],
        "numbers": [[browser.room, browser.numbers] for browser in browsers],
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
