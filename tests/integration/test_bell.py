"""The bell on the real Redis protocol server: offers are heard at once, and again after a connection was lost."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from shared.config import FeatureConfig
from shared.jobs import AttemptSpec, DatasetSnapshot, PreprocessSpec, Ticket
from shared.lease import Leases, offer_channel
from shared.redis_client import connect
from worker.bell import Bell

LIMIT_S = 20.0
WORKER = "here/cpu"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def heard(redis_url: str, redis: Redis) -> Iterator[SimpleQueue[Ticket]]:
    """What a bell heard that listens."""
    tickets: SimpleQueue[Ticket] = SimpleQueue()
    bell = Bell(redis_url, WORKER, tickets.put)
    bell.start()
    _wait_listening(redis, tickets)
    yield tickets
    bell.stop()


def _offer(redis: Redis, job_id: int, worker: str = WORKER) -> None:
    snapshot = DatasetSnapshot(dataset_id=1, name="d", version=1, version_hash="0", clips=())
    spec = PreprocessSpec(dataset=snapshot, features=FeatureConfig())
    Leases(redis).offer(AttemptSpec(job_id=job_id, attempt=1, spec=spec, secret="s"), worker)


def _wait_listening(redis: Redis, tickets: SimpleQueue[Ticket]) -> None:
    """Ring until somebody hears it."""
    number = 1_000_000
    for _ in range(int(LIMIT_S / 0.1)):
        number += 1
        _offer(redis, number)
        try:
            while tickets.get(timeout=0.1).job_id != number:
                pass
        except Empty:
            continue
        return
    raise AssertionError("nobody listens")


def test_an_offer_is_heard_by_its_worker_alone(redis: Redis, heard: SimpleQueue[Ticket]) -> None:
    _offer(redis, 7, "there/cpu")
    _offer(redis, 8)
    assert heard.get(timeout=LIMIT_S) == Ticket(job_id=8, attempt=1)


def test_it_listens_again_after_its_connection_was_cut(
    redis: Redis, heard: SimpleQueue[Ticket], redis_server: RedisServer, owner_password: str
) -> None:
    with Redis(port=redis_server.access.port, username="owner", password=owner_password) as owner:
        assert owner.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
    _wait_listening(redis, heard)
    _offer(redis, 9)
    assert heard.get(timeout=LIMIT_S) == Ticket(job_id=9, attempt=1)


def test_what_is_no_ticket_does_not_end_it(redis: Redis, heard: SimpleQueue[Ticket]) -> None:
    redis.publish(offer_channel(WORKER), "no ticket")
    _wait_listening(redis, heard)


def test_one_that_cannot_be_taken_does_not_end_it(redis_url: str, redis: Redis) -> None:
    tickets: SimpleQueue[Ticket] = SimpleQueue()

    def take(ticket: Ticket) -> None:
        tickets.put(ticket)
        if ticket.job_id == 66:
            raise ConnectionError("Redis went away just now")

    bell = Bell(redis_url, WORKER, take)
    bell.start()
    _wait_listening(redis, tickets)
    _offer(redis, 66)
    assert heard_number(tickets) == 66
    _wait_listening(redis, tickets)
    bell.stop()


def heard_number(tickets: SimpleQueue[Ticket]) -> int:
    return tickets.get(timeout=LIMIT_S).job_id
