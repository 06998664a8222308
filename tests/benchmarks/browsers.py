"""Browsers as far as sockets go: `python -m tests.benchmarks.browsers URL ROOM...`, 10 for each room.

Each is a WebSocket that speaks Engine.IO and Socket.IO as the page's client does: it watches one job (or joins one room
of the stock server) and notes when each event came. All of them share one thread and no more of the protocols than is
needed, so that it is the server that is measured. A line `ready` on standard output says that all of them watch;
end-of-file on standard input ends it, and a JSON object tells what came: `late_s`, the seconds between `at` of each
event and its arrival, and `numbers`, those of each browser's events in the order of arrival.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

from typing_extensions import override

PER_ROOM: Final = 10
_TIMEOUT_S: Final = 60.0
_REQUEST: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: c3BlY3RyYWluIGJyb3dzZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TEXT: Final = 0x81
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_LONG, _LONGER = 126, 127


class Browser(asyncio.Protocol):
    """One socket; `late_s` and `numbers` grow while events come."""

    def __init__(self, host: str, room: str) -> None:
        self.room = room
        self.late_s: list[float] = []
        self.numbers: list[int] = []
        self.ready = asyncio.get_running_loop().create_future()
        self._host = host
        self._upgraded = False
        self._received = bytearray()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_REQUEST.format(host=self._host).encode())

    @override
    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._received += data
        if not self._upgraded:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._upgraded, self._received = True, rest
        while (text := self._next()) is not None:
            self._take(text, now)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("the server closed a socket"))

    def close(self) -> None:
        """End it."""
        self._transport.abort()

    def _next(self) -> str | None:
        """The next whole message, always text and never split or masked (RFC 6455, section 5.2)."""
        received = self._received
        if len(received) < 2:
            return None
        size, start = received[1], 2
        if size in {_LONG, _LONGER}:
            start += 2 if size == _LONG else 8
            size = int.from_bytes(received[2:start], "big")
        if len(received) < start + size:
            return None
        assert received[0] == _TEXT, received[:start]
        text = received[start : start + size].decode()
        del received[: start + size]
        return text

    def _send(self, text: str) -> None:
        content = text.encode()
        assert len(content) < _LONG
        self._transport.write(bytes((_TEXT, _MASKED | len(content))) + _NO_MASK + content)

    def _take(self, message: str, now: float) -> None:
        if message.startswith("0"):  # the transport is open: connect to the namespace
            self._send("40")
        elif message == "2":
            self._send("3")
        elif message.startswith("40"):
            self._send(f'421["watch",{{"job":{self.room}}}]')
        elif message.startswith("43"):
            (answer,) = json.loads(message[message.index("[") :])
            assert answer["ok"], message
            self.ready.set_result(None)
        elif message.startswith("42"):
            name, event = json.loads(message[2:])
            if name == "event":
                self._note(event, now)

    def _note(self, event: dict[str, Any], now: float) -> None:
        self.late_s.append(now - float(event["at"]))
        self.numbers.append(int(event["number"]))


def _same(browser: Browser) -> Browser:
    return browser


async def _browse(url: str, rooms: list[str]) -> list[Browser]:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    browsers = [Browser(address.netloc, room) for room in rooms for _ in range(PER_ROOM)]
    for browser in browsers:
        await loop.create_connection(partial(_same, browser), address.hostname, address.port)
    await asyncio.wait_for(asyncio.gather(*(browser.ready for browser in browsers)), _TIMEOUT_S)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    for browser in browsers:
        browser.close()
    return browsers


def main() -> None:
    """Entry."""
    url, *rooms = sys.argv[1:]
    browsers = asyncio.run(_browse(url, rooms))
    told = {
        "late_s": [late for browser in browsers for late in browser.late_s],
        "numbers": [[browser.room, browser.numbers] for browser in browsers],
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
