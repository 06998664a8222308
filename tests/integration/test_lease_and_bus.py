"""Leases, control flags and the event bus on the real Redis protocol server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from shared.config import FeatureConfig
from shared.control import Controls
from shared.errors import LeaseLostError
from shared.event_bus import EVENT_CHANNEL, Entry, EventBus, parse_line
from shared.events import Event, LogLine
from shared.jobs import AttemptSpec, DatasetSnapshot, PreprocessSpec, Ticket
from shared.lease import ClaimResult, Leases, UnknownAttemptError, attempt_key, lease_key
from shared.redis_client import connect

LEASE_S = 5.0
SECRET = "the newest attempt's"
OTHER = "another attempt's"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def job_id(redis: Redis) -> int:
    """A job that no other test uses, with its first attempt offered to worker a."""
    job_id = time.monotonic_ns() % 1_000_000_000
    Leases(redis).offer(attempt_of(job_id, 1), "a")
    return job_id


def attempt_of(job_id: int, number: int, secret: str = SECRET) -> AttemptSpec:
    snapshot = DatasetSnapshot(dataset_id=1, name="d", version=1, version_hash="0", clips=())
    spec = PreprocessSpec(dataset=snapshot, features=FeatureConfig())
    return AttemptSpec(job_id=job_id, attempt=number, spec=spec, secret=secret)


def claim(leases: Leases, job_id: int, attempt: int, worker: str) -> ClaimResult:
    return leases.claim(Ticket(job_id=job_id, attempt=attempt), worker, LEASE_S)[0]


def line(job_id: int, attempt: int, text: str) -> Event:
    return Event(job_id=job_id, attempt=attempt, at=time.time(), body=LogLine(message=text))


def messages(bus: EventBus, job_id: int) -> list[tuple[int, str]]:
    events = bus.read({job_id: 0})[job_id]
    return [(event.number, event.body.message) for event in events if isinstance(event.body, LogLine)]


def test_only_the_first_claim_of_an_attempt_succeeds(redis: Redis, job_id: int) -> None:
    leases = Leases(redis)
    assert leases.offer(attempt_of(job_id, 1), "b")
    assert claim(leases, job_id, 1, "a") == "claimed"
    status = leases.status(job_id)
    assert (status.granted, status.claimed, status.pid) == (1, 1, os.getpid())
    assert 0 < status.left_s <= LEASE_S
    assert claim(leases, job_id, 1, "a") == "stale", "what is to be done was taken, too"
    assert claim(leases, job_id, 1, "b") == "taken", "it was offered to both"
    assert claim(leases, job_id, 1, "b") == "taken"


def test_a_newer_attempt_fences_the_older_one(redis: Redis, job_id: int) -> None:
    leases = Leases(redis)
    assert claim(leases, job_id, 1, "a") == "claimed"
    assert leases.offer(attempt_of(job_id, 2, OTHER), "b")
    assert not leases.offer(attempt_of(job_id, 1), "a")
    assert leases.status(job_id).granted == 2, "a fence never goes down"
    assert not leases.renew(job_id, 1, "a", SECRET, LEASE_S)
    assert claim(leases, job_id, 1, "a") == "stale"
    assert claim(leases, job_id, 2, "b") == "claimed"


@pytest.mark.parametrize("secret", [OTHER, ""])
def test_nobody_acts_for_an_attempt_without_its_secret(redis: Redis, job_id: int, secret: str) -> None:
    leases, bus = Leases(redis), EventBus(redis)
    redis.hset(attempt_key("a", job_id), "secret", secret)
    assert claim(leases, job_id, 1, "a") == "stale"
    leases.offer(attempt_of(job_id, 1), "a")
    assert claim(leases, job_id, 1, "a") == "claimed"
    assert not leases.renew(job_id, 1, "b", secret, LEASE_S)
    with pytest.raises(LeaseLostError):
        bus.publish([line(job_id, 1, "forged")], writer="trainer:1", first_count=1, secret=secret)
    assert messages(bus, job_id) == []
    assert SECRET not in str(redis.hgetall(lease_key(job_id))), "what is kept does not tell the secret"


def test_a_fence_alone_can_be_claimed_by_nobody(redis: Redis, job_id: int) -> None:
    leases = Leases(redis)
    assert leases.grant(job_id, 2, "") == 2
    for attempt in (1, 2):
        assert claim(leases, job_id, attempt, "a") == "stale"
    assert not leases.renew(job_id, 1, "a", SECRET, LEASE_S)
    assert leases.offer(attempt_of(job_id, 2, OTHER), "b")
    assert claim(leases, job_id, 2, "b") == "claimed"


def test_an_offer_made_again_changes_nothing_for_its_holder(redis: Redis, job_id: int) -> None:
    leases = Leases(redis)
    claim(leases, job_id, 1, "a")
    assert leases.offer(attempt_of(job_id, 1), "a")
    assert leases.status(job_id).left_s > 0
    assert claim(leases, job_id, 1, "a") == "stale", "nothing was left for it"


def test_an_offer_of_a_number_that_somebody_else_has_changes_nothing_for_its_holder(redis: Redis, job_id: int) -> None:
    leases = Leases(redis)
    claim(leases, job_id, 1, "a")
    assert not leases.offer(attempt_of(job_id, 1, OTHER), "b")
    assert claim(leases, job_id, 1, "b") == "stale"
    assert leases.renew(job_id, 1, "a", SECRET, LEASE_S)


def test_what_redis_forgot_is_told_again_and_goes_on(redis: Redis, job_id: int) -> None:
    leases, bus = Leases(redis), EventBus(redis)
    claim(leases, job_id, 1, "a")
    redis.delete(lease_key(job_id))
    with pytest.raises(UnknownAttemptError):
        leases.renew(job_id, 1, "a", SECRET, LEASE_S)
    with pytest.raises(UnknownAttemptError):
        bus.publish([line(job_id, 1, "a")], writer="trainer:1", first_count=1, secret=SECRET)
    leases.grant(job_id, 1, "a", SECRET)
    assert leases.renew(job_id, 1, "a", SECRET, LEASE_S)
    assert leases.status(job_id).claimed == 1
    bus.publish([line(job_id, 1, "a")], writer="trainer:1", first_count=1, secret=SECRET)
    assert messages(bus, job_id) == [(1, "a")]


def test_a_specification_is_kept_for_one_worker_until_it_took_it(redis: Redis, job_id: int) -> None:
    leases, attempt = Leases(redis), attempt_of(job_id, 2)
    leases.offer(attempt, "here/cpu")
    assert 0 < int(str(redis.ttl(attempt_key("here/cpu", job_id)))) <= 300
    for number, worker in ((1, "here/cpu"), (2, "there/cpu"), (3, "here/cpu")):
        assert leases.claim(Ticket(job_id=job_id, attempt=number), worker, LEASE_S) == ("stale", None)
    assert leases.claim(Ticket(job_id=job_id, attempt=2), "here/cpu", LEASE_S) == ("claimed", attempt)
    assert not redis.exists(attempt_key("here/cpu", job_id))


def test_what_is_cancelled_before_it_starts_is_never_claimed(redis: Redis, job_id: int) -> None:
    leases, controls = Leases(redis), Controls(redis)
    leases.offer(attempt_of(job_id, 3), "a")
    controls.wish(job_id, 3, "cancel")
    assert claim(leases, job_id, 3, "a") == "unwanted"
    leases.offer(attempt_of(job_id, 4), "a")
    assert claim(leases, job_id, 4, "a") == "claimed", "a resume does not meet the old wish"


def test_flags_are_meant_for_one_attempt(redis: Redis, job_id: int) -> None:
    controls = Controls(redis)
    controls.ask(job_id, 1, "save")
    controls.ask(job_id, 1, "save")
    controls.wish(job_id, 1, "pause")
    flags = controls.read(job_id, 1)
    assert (flags.wish, flags.saves, flags.previews) == ("pause", 2, 0)
    assert controls.read(job_id, 2).wish == "none"
    controls.ask(job_id, 2, "preview")
    assert controls.read(job_id, 2).wish == "none"
    assert controls.read(job_id, 2).previews == 1


def test_numbers_have_no_gap_whoever_writes(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    bus.publish([line(job_id, 1, "a"), line(job_id, 1, "b")], writer="trainer:1", first_count=1, secret=SECRET)
    bus.publish([line(job_id, 1, "c")], writer="api", first_count=17, secret=None)
    bus.publish([line(job_id, 1, "d")], writer="trainer:1", first_count=3, secret=SECRET)
    assert messages(bus, job_id) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_a_batch_sent_again_is_applied_once(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    batch = [line(job_id, 1, "a"), line(job_id, 1, "b")]
    assert bus.publish(batch, writer="trainer:1", first_count=1, secret=SECRET) == 2
    assert bus.publish(batch, writer="trainer:1", first_count=1, secret=SECRET) == 2
    bus.publish([*batch, line(job_id, 1, "c")], writer="trainer:1", first_count=1, secret=SECRET)
    assert messages(bus, job_id) == [(1, "a"), (2, "b"), (3, "c")]


def test_events_of_an_older_attempt_are_refused(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    Leases(redis).grant(job_id, 2, "b", SECRET)
    with pytest.raises(LeaseLostError, match="newer attempt"):
        bus.publish([line(job_id, 1, "stale")], writer="trainer:1", first_count=1, secret=SECRET)
    assert messages(bus, job_id) == []
    bus.publish([line(job_id, 1, "from the api")], writer="api", first_count=1, secret=None)
    assert messages(bus, job_id) == [(1, "from the api")]


def test_numbers_go_on_after_trimming_and_above_the_floor(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    bus.publish([line(job_id, 1, "a"), line(job_id, 1, "b")], writer="t", first_count=1, secret=SECRET)
    bus.forget({job_id: 2})
    assert messages(bus, job_id) == []
    bus.publish([line(job_id, 1, "c")], writer="t", first_count=3, secret=SECRET)
    assert messages(bus, job_id) == [(3, "c")]
    bus.raise_floor(job_id, 10)
    bus.raise_floor(job_id, 5)
    bus.publish([line(job_id, 1, "d")], writer="t", first_count=4, secret=SECRET)
    assert bus.publish([line(job_id, 1, "e")], writer="t", first_count=5, floor=20, secret=SECRET) == 21
    assert messages(bus, job_id) == [(3, "c"), (11, "d"), (21, "e")]


def test_what_is_said_of_another_job_or_attempt_does_not_count(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    forged = [line(job_id + 1, 1, "of another job"), line(job_id, 7, "of an attempt to come")]
    entries = [Entry(writer="t", count=count, text=event.to_json()) for count, event in enumerate(forged, 1)]
    bus.send(job_id, 1, entries, secret=SECRET)
    events = bus.read({job_id: 0})[job_id]
    assert [(event.job_id, event.attempt, event.number) for event in events] == [(job_id, 0, 1), (job_id, 0, 2)]
    assert all("could not be read" in event.body.message for event in events if isinstance(event.body, LogLine))


def test_streams_lists_jobs_until_they_are_forgotten(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    bus.publish([line(job_id, 1, "a")], writer="t", first_count=1, secret=SECRET)
    bus.forget({job_id: 0})
    assert job_id in bus.streams(), "what holds events is not forgotten"
    bus.forget({job_id: 1})
    assert job_id not in bus.streams()


def test_subscribers_get_each_event_with_its_number(redis: Redis, job_id: int) -> None:
    bus = EventBus(redis)
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(f"{EVENT_CHANNEL}{job_id}")
        pubsub.get_message(timeout=5.0)
        long = "x" * 40_000
        lines = [line(job_id, 1, text) for text in ("a b\nc", "d", long, long, "e")]
        bus.publish(lines, writer="t", first_count=1, secret=SECRET)
        messages: list[str] = []
        while len(messages) < 2:
            if (message := pubsub.get_message(timeout=5.0)) is not None:
                messages.append(message["data"])
    events = [parse_line(each) for message in messages for each in message.split("\n")]
    assert [message.count("\n") for message in messages] == [3, 0], "together, unless they are long"
    assert [(event["number"], event["job_id"]) for event in events] == [(number, job_id) for number in range(1, 6)]
    assert [event["body"]["message"] for event in events] == ["a b\nc", "d", long, long, "e"]
