"""Live events to many browsers: frames, browsers that are slow, browsers that stop reading."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
from engineio.packet import MESSAGE, Packet
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from api.outlets import MAX_WAITING_BYTES, Outlet, Pump, text_frame
from api.rooms import RoomEmitter

_LIMIT_S = 20.0


class Browser:
    """The other end of an outlet's connection."""

    def __init__(self, pump: Pump) -> None:
        ours, self.end = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.end.settimeout(_LIMIT_S)
        self.outlet = Outlet(ours, pump)

    def fill(self) -> int:
        """Put until something waits; returns how many bytes were put."""
        count = 0
        while not self.outlet._waiting:
            self.outlet.put(b"x" * 1000)
            count += 1000
        return count

    def read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            read += self.end.recv(size - len(read))
        return read


@pytest.fixture
def browser() -> Iterator[Browser]:
    browser = Browser(Pump())
    yield browser
    browser.outlet.close()
    browser.end.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_is_what_a_browser_reads(size: int) -> None:
    text = "ü" + "x" * size
    reader = Connection(ConnectionType.CLIENT)
    reader.receive_data(text_frame(text))
    read = "".join(event.data for event in reader.events() if isinstance(event, TextMessage))
    assert read == text


def test_what_there_is_room_for_is_sent_at_once(browser: Browser) -> None:
    browser.outlet.put(b"hello")
    assert browser.read(5) == b"hello"
    assert not browser.outlet.is_behind


def test_a_slow_browser_gets_everything_in_order_without_anybody_waiting(browser: Browser) -> None:
    frames = [f"{number:06}".encode() * 100 for number in range(2000)]
    began = time.monotonic()
    for frame in frames:
        browser.outlet.put(frame)
    assert time.monotonic() - began < _LIMIT_S
    assert browser.outlet._waiting, "the test needs more"
    assert browser.read(sum(map(len, frames))) == b"".join(frames)
    browser.outlet.put(b"more")
    assert browser.read(4) == b"more"


def test_several_slow_browsers_are_served_by_one_thread() -> None:
    pump = Pump()
    browsers = [Browser(pump) for _ in range(5)]
    sizes = [browser.fill() for browser in browsers]
    for browser, size in zip(browsers, sizes, strict=True):
        assert browser.read(size) == b"x" * size
    assert sum(thread.name == "pump" for thread in threading.enumerate()) >= 1
    for browser in browsers:
        browser.outlet.close()
        browser.end.close()


def test_a_browser_for_which_too_much_waits_is_behind(browser: Browser) -> None:
    browser.fill()
    assert not browser.outlet.is_behind, "a burst is none to be cut off for"
    browser.outlet.put(b"x" * MAX_WAITING_BYTES)
    assert browser.outlet.is_behind


def test_a_browser_that_has_something_waiting_for_long_is_behind(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = browser.fill()
    monkeypatch.setattr("api.outlets.BEHIND_S", -1.0)
    assert browser.outlet.is_behind
    browser.read(size)
    deadline = time.monotonic() + _LIMIT_S
    while browser.outlet.is_behind and time.monotonic() < deadline:
        time.sleep(0.01)  # nothing tells when an outlet is empty
    assert not browser.outlet.is_behind, "it caught up"


def test_who_is_cut_off_is_told_by_the_end_of_its_connection(browser: Browser) -> None:
    browser.fill()
    browser.outlet.cut()
    browser.outlet.put(b"never")
    assert browser.outlet.recv(10) == b"", "and whoever reads from it wakes up"
    with pytest.raises(BrokenPipeError):
        browser.outlet.send(b"never")
    while browser.end.recv(65_536):
        pass


def test_a_browser_that_left_keeps_nobody(browser: Browser) -> None:
    browser.fill()
    browser.end.close()
    deadline = time.monotonic() + _LIMIT_S
    while browser.outlet._waiting and time.monotonic() < deadline:
        time.sleep(0.01)  # nothing tells when an outlet is empty
    assert not browser.outlet._waiting
    browser.outlet.put(b"nobody")
    assert not browser.outlet.is_behind


class _Connection:
    """Engine.IO's side of a browser."""

    def __init__(self, outlet: Outlet | None = None, waiting: int = 0, size: int = 100) -> None:
        self.outlet = outlet
        self.upgraded, self.upgrading = outlet is not None, False
        self.queue: Queue[Packet] = Queue()
        for _ in range(waiting):
            self.queue.put(Packet(MESSAGE, "x" * size))
        self.closed: list[dict[str, bool]] = []

    def close(self, **how: bool) -> None:
        self.closed.append(how)


class _Server:
    """Socket.IO's side of browsers in a room."""

    def __init__(self, **connections: _Connection) -> None:
        self.server = self.manager = self.eio = self
        self.sockets = connections
        self.sent: list[tuple[str, str]] = []

    def get_participants(self, _namespace: str, _room: str) -> list[tuple[str, str]]:
        return [(f"of {name}", name) for name in (*self.sockets, "gone")]

    def _send_eio_packet(self, engine_sid: str, message: Packet) -> None:
        self.sent.append((engine_sid, str(message.encode())))


def test_an_event_goes_straight_to_websockets_and_through_the_queue_to_others(browser: Browser) -> None:
    early = _Connection(browser.outlet, waiting=1)
    sockets: Any = _Server(socket=_Connection(browser.outlet), polling=_Connection(), early=early)
    RoomEmitter(sockets)("event", {"number": 1}, "job:1")
    text = '42["event",{"number":1}]'
    assert browser.read(len(text) + 2) == text_frame(text)
    assert sockets.sent == [("polling", text), ("early", text), ("gone", text)], "behind what waits already"


def test_who_does_not_keep_up_is_cut_off(browser: Browser) -> None:
    many = _Connection(waiting=100, size=MAX_WAITING_BYTES // 100 + 1)
    burst = _Connection(waiting=100)
    browser.outlet.put(b"x" * 2 * MAX_WAITING_BYTES)
    sockets: Any = _Server(socket=_Connection(browser.outlet), many=many, burst=burst)
    RoomEmitter(sockets)("event", {}, "job:1")
    assert many.closed == [{"wait": False, "abort": True}]
    assert burst.closed == []
    assert [name for name, _ in sockets.sent] == ["burst", "gone"]
    assert browser.outlet.recv(10) == b""
