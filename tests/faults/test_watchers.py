"""Whoever watches: live connections that drop everywhere, and browsers that stop reading."""

from __future__ import annotations

import fcntl
import itertools
import json
import random
import re
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import websocket
from redis import Redis

from deploy.redis_server import RedisServer
from tests.faults.counting import Fault
from tests.faults.followers import Page
from tests.faults.reports import writes
from tests.system import SMALL, System

EVENTS_PER_S = 100.0
CAUGHT_UP_S = 3.0
SEED = 15
CLIENTS = 50
STALLED = 5
P99_S = 0.25
MEMORY_BYTES = 50 << 20

Limit = Callable[[float], float]
Count = Callable[[int, int], int]


def test_row_15_dropped_connections_of_relay_redis_and_client(
    *, system: System, redis_server: RedisServer, owner: Redis, fault: Fault, count: Count, limit: Limit
) -> None:
    chance = random.Random(SEED)
    job_id = submit(system)
    drops = count(6, 50)
    waits: list[float] = []
    with (
        Page(system.url, job_id) as page,
        writes(redis_server.url("worker"), owner, job_id, total=1_000_000, per_s=EVENTS_PER_S) as reports,
    ):
        kinds = itertools.cycle((lambda: drop_relay(owner), lambda: drop_redis(owner), lambda: drop_client(page)))
        assert page.wait(10, 60.0)
        for drop in itertools.islice(kinds, drops):
            drop()
            fault.injected()
            newest = int(str(owner.hget(f"spectrain:job:{job_id}:numbers", "last")))
            started = time.monotonic()
            assert page.wait(newest, limit(CAUGHT_UP_S)), f"{newest - page.last} events behind"
            waits.append(time.monotonic() - started)
            time.sleep(chance.uniform(0.1, 1.0))
        written = reports.enough()
        last = f"write {written}"
        deadline = time.monotonic() + limit(CAUGHT_UP_S) + 5.0
        while not (page.applied and page.applied[-1]["body"].get("message") == last):
            newest = int(str(owner.hget(f"spectrain:job:{job_id}:numbers", "last")))
            assert time.monotonic() < deadline, f"{page.last} shown of {newest} sent and {written} reported: {page}"
            time.sleep(0.05)
    assert [event["number"] for event in page.applied] == list(range(1, page.last + 1)), "a gap or a double"
    lines = [event["body"]["message"] for event in page.applied if event["body"]["type"] == "log"]
    assert lines == [f"write {number}" for number in range(1, written + 1)]
    assert page.connections > drops // 3
    fault.held(drops)
    fault.note(f"{written} events, slowest caught up after {max(waits):.2f} s")


def drop_relay(owner: Redis) -> None:
    """Kill the subscription of the api."""
    subscribed = [each["id"] for each in owner.client_list(_type="pubsub") if int(each["psub"]) > 0]
    assert subscribed, "the api does not listen"
    for client in subscribed:
        owner.client_kill_filter(_id=client)
    assert not {each["id"] for each in owner.client_list(_type="pubsub")} & set(subscribed)


def drop_redis(owner: Redis) -> None:
    """Kill every other connection: the api's and the reporter's."""
    assert int(owner.client_kill_filter(_type="normal", skipme=True)) > 0


def drop_client(page: Page) -> None:
    page.drop()


def submit(system: System) -> int:
    return int(system.post("/jobs", {"kind": "train", "dataset": "sounds", "changes": SMALL})["id"])


def test_row_16_clients_that_stop_reading(
    *, system: System, redis_server: RedisServer, owner: Redis, fault: Fault, count: Count, limit: Limit
) -> None:
    job_id = submit(system)
    seconds, per_s = count(15, 60), 20.0
    api = psutil.Process(system.pid("api"))
    with ExitStack() as stack:
        stalled = [stack.enter_context(watching(system, job_id, reads=False)) for _ in range(STALLED)]
        readers = [Reader(stack.enter_context(watching(system, job_id))) for _ in range(CLIENTS - STALLED)]
        before = api.memory_info().rss
        highest = before
        total = round(seconds * per_s)
        # Large enough to fill what the system keeps for a connection within seconds.
        with writes(redis_server.url("worker"), owner, job_id, total=total, per_s=per_s, padding=16_384) as reports:
            for share in range(1, 51):
                reports.wait(share / 50)
                highest = max(highest, api.memory_info().rss)
        for reader in readers:
            assert reader.came.wait_for_number(total, 30.0), "a reader was cut off"
        for connection in stalled:
            assert unread_bytes(connection) > 0, "it had read everything"
            fault.injected()
        delays = sorted(delay for reader in readers for delay in reader.came.delays)
    p99 = delays[int(len(delays) * 0.99)]
    assert highest - before <= MEMORY_BYTES, f"{(highest - before) >> 20} MiB more"
    assert p99 <= limit(P99_S), f"p99 {p99 * 1000:.0f} ms"
    fault.held(STALLED)
    fault.note(f"memory {(highest - before) / 2**20:+.1f} MiB, p99 of the others {p99 * 1000:.0f} ms")


class Arrivals:
    """What a reader got: how late each event was, and the newest of them."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self._newest = 0
        self._changed = threading.Condition()

    def add(self, number: int, delay_s: float) -> None:
        with self._changed:
            self.delays.append(delay_s)
            self._newest = number
            self._changed.notify_all()

    def wait_for_number(self, number: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._newest >= number, timeout_s)


class Reader:
    """Reads everything that comes, on a thread of its own."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.came = Arrivals()
        self._connection = connection
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def _read(self) -> None:
        try:
            while message := self._connection.recv():
                now = time.time()
                text = str(message)
                if text == "2":
                    self._connection.send("3")
                elif (line := re.search(r'"message":"write (\d+)', text)) and (at := re.search(r'"at":([\d.]+)', text)):
                    self.came.add(int(line[1]), now - float(at[1]))
        except (OSError, websocket.WebSocketException):
            return  # closed at the test's end; a reader that was cut off before lacks its last event


@contextmanager
def watching(system: System, job_id: int, *, reads: bool = True) -> Iterator[websocket.WebSocket]:
    """A connection that watches a job, spoken to as Engine.IO 4 and Socket.IO 5 have it."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)]
    url = f"{system.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
    # Checking UTF-8 in Python would make the readers the slow part.
    connection = websocket.create_connection(url, timeout=60, sockopt=[] if reads else small, skip_utf8_validation=True)
    try:
        assert str(connection.recv()).startswith("0"), "no Engine.IO"
        connection.send("40")
        assert str(connection.recv()).startswith("40"), "no Socket.IO"
        connection.send("420" + json.dumps(["watch", {"job": job_id}]))
        (answer,) = json.loads(_answer(connection))
        assert answer["ok"], answer
        yield connection
    finally:
        connection.close(timeout=0)


def unread_bytes(connection: websocket.WebSocket) -> int:
    """Bytes that have come and that nobody read."""
    count = bytearray(4)
    fcntl.ioctl(connection.sock, termios.FIONREAD, count)
    return int(struct.unpack("i", count)[0])


def _answer(connection: websocket.WebSocket) -> str:
    """The answer to what was asked; an event of the job may come before it."""
    while not (message := str(connection.recv())).startswith("430"):
        assert message.startswith("42"), message
    return message.removeprefix("430")
