"""Events on their way to the real Redis protocol server: while it is away, full, or nobody reads what it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from shared.errors import LeaseLostError
from shared.event_bus import Entry, EventBus
from shared.events import CheckpointSaved, Event, LogLine
from shared.lease import Leases
from shared.redis_client import connect
from shared.settings import Settings
from tests.full_disk import full_above
from worker import leftovers
from worker.leftovers import find_leftovers, send_leftovers
from worker.locks import hold_lock
from worker.reporter import Sender, StreamReporter
from worker.spool import Spool, spool_folder

SECRET = "secret"
STREAM_EVENTS = 100
WAIT_S = 60.0
FULL_BYTES = 1 << 16


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def job_id(redis: Redis) -> int:
    job_id = time.monotonic_ns() % 1_000_000_000
    Leases(redis).grant(job_id, 1, "here/cpu", SECRET)
    return job_id


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(data=tmp_path, redis_url=redis_url, stream_events=STREAM_EVENTS)


def spool_of(settings: Settings, job_id: int) -> Spool:
    return Spool(
        spool_folder(settings.data),
        job_id=job_id,
        attempt=1,
        secret=SECRET,
        worker="here/cpu",
        limit_bytes=settings.spool_bytes,
    )


def reporter(settings: Settings, job_id: int, on_fenced: Callable[[], object] = lambda: None) -> StreamReporter:
    return StreamReporter(
        settings.redis_url,
        spool_of(settings, job_id),
        stream_events=settings.stream_events,
        on_fenced=on_fenced,
        on_steps=lambda: None,
    )


def wait_until(what: Callable[[], bool]) -> None:
    """Redis tells nobody of streams that are trimmed or filled."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Recording:
    """Stands in for the api's recorder: reads, trims, remembers."""

    def __init__(self, bus: EventBus, job_id: int) -> None:
        self._bus = bus
        self._job_id = job_id
        self.numbers: list[int] = []
        self.messages: list[str] = []

    def drain(self) -> None:
        after = self.numbers[-1] if self.numbers else 0
        for event in self._bus.read({self._job_id: after})[self._job_id]:
            self.numbers.append(event.number)
            self.messages.append(event.body.message if isinstance(event.body, LogLine) else event.body.type)
        if self.numbers:
            self._bus.forget({self._job_id: self.numbers[-1]})

    def has(self, count: int) -> bool:
        self.drain()
        return len(self.messages) >= count


def test_a_stream_that_nobody_reads_is_bounded_and_nothing_is_lost(
    redis: Redis, settings: Settings, job_id: int
) -> None:
    bus = EventBus(redis)
    recording = Recording(bus, job_id)
    stream = f"spectrain:job:{job_id}:events"
    with reporter(settings, job_id) as reporting:
        for index in range(1_000):
            reporting.publish(LogLine(message=str(index)))
        wait_until(lambda: bool(list(spool_folder(settings.data).glob("*.jsonl"))))
        assert redis.xlen(stream) == STREAM_EVENTS
        for index in range(1_000, 1_500):
            reporting.publish(LogLine(message=str(index)))
        # The api comes back.
        wait_until(lambda: recording.has(1_500))
        reporting.publish(LogLine(message="1500"))
        wait_until(lambda: recording.has(1_501))
    assert recording.messages == [str(index) for index in range(1_501)]
    assert recording.numbers == list(range(1, 1_502))
    assert list(spool_folder(settings.data).iterdir()) == []


def test_redis_that_is_killed_meanwhile_costs_nothing(
    redis_server: RedisServer, redis: Redis, settings: Settings, job_id: int
) -> None:
    recording = Recording(EventBus(redis), job_id)
    with reporter(settings.model_copy(update={"stream_events": 10_000}), job_id) as reporting:
        reporting.publish(LogLine(message="0"))
        wait_until(lambda: recording.has(1))
        time.sleep(1.5)  # until the server has written its newest second out
        redis_server.kill()
        for index in range(1, 2_001):
            reporting.publish(LogLine(message=str(index)))
        wait_until(lambda: bool(list(spool_folder(settings.data).glob("*.jsonl"))))
        redis_server.start()
        wait_until(lambda: recording.has(2_001))
    assert recording.messages == [str(index) for index in range(2_001)]
    assert recording.numbers == list(range(1, 2_002))


def test_redis_without_memory_is_waited_for(
    redis_server: RedisServer, owner_password: str, redis: Redis, settings: Settings, job_id: int
) -> None:
    access = redis_server.access
    recording = Recording(EventBus(redis), job_id)
    with Redis(host=access.host, port=access.port, username="owner", password=owner_password) as owner:
        owner.config_set("maxmemory", "1")
        try:
            with reporter(settings, job_id) as reporting:
                for index in range(400):
                    reporting.publish(LogLine(message=str(index)))
                wait_until(lambda: bool(list(spool_folder(settings.data).glob("*.jsonl"))))
                assert redis.xlen(f"spectrain:job:{job_id}:events") == 0
                owner.config_set("maxmemory", "0")
                wait_until(lambda: recording.has(400))
        finally:
            owner.config_set("maxmemory", "0")
    assert recording.messages == [str(index) for index in range(400)]


def test_a_full_disk_meanwhile_costs_nothing_either(
    redis_server: RedisServer, owner_password: str, redis: Redis, settings: Settings, job_id: int
) -> None:
    access = redis_server.access
    recording = Recording(EventBus(redis), job_id)
    spool = spool_of(settings, job_id).path
    with (
        Redis(host=access.host, port=access.port, username="owner", password=owner_password) as owner,
        reporter(settings.model_copy(update={"stream_events": 10_000}), job_id) as reporting,
    ):
        owner.config_set("maxmemory", "1")
        try:
            with full_above(FULL_BYTES):
                for index in range(300):
                    reporting.publish(LogLine(message=str(index)))
                wait_until(spool.exists)
                for index in range(300, 340):
                    reporting.publish(LogLine(message=f"{index:02000}"))
                    time.sleep(0.05)  # each is tried for itself
                # Each try begins by cutting off what the one before left of its line.
                wait_until(lambda: spool.stat().st_size == FULL_BYTES)
        finally:
            owner.config_set("maxmemory", "0")
        wait_until(lambda: recording.has(340))
    assert [int(message) for message in recording.messages] == list(range(340))
    assert list(spool_folder(settings.data).iterdir()) == []


def test_a_spool_that_the_disk_damaged_ends_no_reporter(redis: Redis, settings: Settings, job_id: int) -> None:
    spool = spool_of(settings, job_id)
    spool.append([Entry(writer="trainer:1", count=1, text="{}")])
    with spool.path.open("r+b") as file:
        file.seek(-10, 2)
        file.write(bytes(10))
    sender = Sender(EventBus(redis), spool, stream_events=STREAM_EVENTS)
    sender.send()
    assert (sender.trouble, bool(sender), spool.path.exists()) == ("", False, False)
    recording = Recording(EventBus(redis), job_id)
    said = Event(job_id=job_id, attempt=1, at=time.time(), body=LogLine(message="what came later"))
    sender.add(Entry(writer="trainer:1", count=2, text=said.to_json()))
    sender.send()
    wait_until(lambda: recording.has(1))
    assert recording.messages == ["what came later"]


def test_what_a_process_left_is_sent_by_the_next_one(redis: Redis, settings: Settings, job_id: int) -> None:
    recording = Recording(EventBus(redis), job_id)
    with reporter(settings, job_id) as reporting:
        for index in range(300):
            reporting.publish(LogLine(message=str(index)))
    end = Event(job_id=job_id, attempt=1, at=time.time(), body=LogLine(message="end"))
    sender = Sender(EventBus(redis), spool_of(settings, job_id), stream_events=STREAM_EVENTS)
    sender.add(Entry(writer="supervisor:1", count=1, text=end.to_json()))
    sender.send()
    assert sender.trouble, "the stream is full"
    sender.keep()

    send_leftovers(settings, "here/cpu")
    wait_until(lambda: recording.has(301))
    assert recording.messages == [*map(str, range(300)), "end"]
    assert recording.numbers == list(range(1, 302))
    wait_until(lambda: not list(spool_folder(settings.data).iterdir()))


def test_what_a_newer_attempt_does_again_is_discarded(redis: Redis, settings: Settings, job_id: int) -> None:
    with reporter(settings, job_id) as reporting:
        for index in range(300):
            reporting.publish(LogLine(message=str(index)))
    Leases(redis).grant(job_id, 2, "there/cpu", "another secret")
    before = redis.xlen(f"spectrain:job:{job_id}:events")
    send_leftovers(settings, "here/cpu")
    assert not list(spool_folder(settings.data).iterdir()), "each is tried before anybody hears of the new process"
    assert redis.xlen(f"spectrain:job:{job_id}:events") == before
    sender = Sender(EventBus(redis), spool_of(settings, job_id), stream_events=STREAM_EVENTS)
    sender.add(Entry(writer="trainer:1", count=301, text="{}"))
    with pytest.raises(LeaseLostError):
        sender.send()


def test_what_another_worker_sent_meanwhile_is_done(settings: Settings, job_id: int) -> None:
    with reporter(settings, job_id) as reporting:
        for index in range(300):
            reporting.publish(LogLine(message=str(index)))
    send_leftovers(settings, "here/cpu")
    (sending,) = [thread for thread in threading.enumerate() if thread.name == "leftovers"]
    spool_of(settings, job_id).remove()
    sending.join(WAIT_S)
    assert not sending.is_alive()


def test_what_redis_does_not_know_for_long_is_tried_at_leisure(
    redis: Redis, settings: Settings, job_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_FOREIGN_S", 0.0)
    monkeypatch.setattr(leftovers, "_RETRY_S", WAIT_S)
    monkeypatch.setattr(leftovers, "_FOREIGN_RETRY_S", 0.1)
    unknown = job_id + 1
    recording = Recording(EventBus(redis), unknown)
    event = Event(job_id=unknown, attempt=1, at=time.time(), body=LogLine(message="left"))
    spool_of(settings, unknown).append([Entry(writer="trainer:1", count=1, text=event.to_json())])
    send_leftovers(settings, "here/cpu")
    (sending,) = [thread for thread in threading.enumerate() if thread.name == "leftovers"]
    Leases(redis).grant(unknown, 1, "here/cpu", SECRET)
    sending.join(WAIT_S / 2)
    assert not sending.is_alive()
    recording.drain()
    assert recording.messages == ["left"]


def test_the_spool_of_a_worker_that_lives_is_left_alone(settings: Settings, job_id: int) -> None:
    spool = spool_of(settings, job_id)
    spool.append([Entry(writer="trainer:1", count=1, text="{}")])
    with hold_lock(settings.data, "here/cpu", "cpu"):
        assert find_leftovers(settings, "there/cpu") == []
        assert [found.path for found in find_leftovers(settings, "here/cpu")] == [spool.path]
    assert [found.path for found in find_leftovers(settings, "there/cpu")] == [spool.path]


def test_a_reporter_that_is_fenced_says_so(redis: Redis, settings: Settings, job_id: int) -> None:
    fenced = threading.Event()
    with reporter(settings, job_id, on_fenced=fenced.set) as reporting:
        Leases(redis).grant(job_id, 2, "there/cpu", "another secret")
        reporting.publish(LogLine(message="stale"))
        assert fenced.wait(WAIT_S)


def test_a_checkpoint_is_recorded_once_redis_took_its_event(redis: Redis, settings: Settings, job_id: int) -> None:
    recording = Recording(EventBus(redis), job_id)
    with reporter(settings, job_id) as reporting:
        for step in range(1, 2 * STREAM_EVENTS + 1):
            reporting.publish(
                CheckpointSaved(
                    name=f"1-{step}", epoch=1, step=step, reason="save", best=False, size_bytes=1, seconds=0.1
                )
            )
        wait_until(lambda: reporting.recorded_checkpoint == f"1-{STREAM_EVENTS}")
        wait_until(lambda: recording.has(2 * STREAM_EVENTS))
        wait_until(lambda: reporting.recorded_checkpoint == f"1-{2 * STREAM_EVENTS}")
