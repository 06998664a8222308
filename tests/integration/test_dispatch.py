"""Jobs that are given to a worker in the moment that they are submitted, and who goes before them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from api.queue.assignment import Assignment
from api.queue.dispatch import Dispatch
from api.record.database import Database
from api.record.jobs import JobRecord, NewJob
from api.record.queue_settings import set_paused
from api.record.tables import Dataset
from api.workers.registry import Registry
from deploy.redis_server import RedisServer
from shared.config import FeatureConfig
from shared.event_bus import EventBus
from shared.events import DeviceStatus, WorkerHeartbeat
from shared.jobs import AttemptSpec, Clip, DatasetSnapshot, JobState, PreprocessRequest, PreprocessSpec, Ticket
from shared.lease import Leases
from shared.redis_client import connect
from shared.storage import FolderStorage
from shared.tickets import device_queue
from shared.version import VERSION

ON_BOTH = pytest.mark.parametrize("record_url", ["sqlite", "postgresql"], indirect=True)
"""SQLite's rows are written once, with the worker; PostgreSQL numbers a row as it is added, and changes it then."""
CLIP = Clip(
    sha256="0" * 64, name="a.wav", num_samples=48_000, sample_rate=48_000, channels=1, format="WAV", size_bytes=9
)
SPEC = PreprocessSpec(
    dataset=DatasetSnapshot(dataset_id=1, name="drums", version=1, version_hash="f" * 64, clips=(CLIP,)),
    features=FeatureConfig(),
)


class House:
    """A record and whoever gives its jobs away, with workers that only say that they are there."""

    def __init__(self, folder: Path, record_url: str, redis: Redis, redis_url: str) -> None:
        self.redis = redis
        self.database = Database(record_url)
        self.database.migrate()
        with self.database.session() as session:
            session.add(Dataset(id=1, name="drums", created_at=0.0))
        bus = EventBus(redis)
        self.registry = Registry(self.database, bus)
        self.given: list[int] = []
        self.dispatch = Dispatch(
            database=self.database,
            redis=redis,
            redis_url=redis_url,
            bus=bus,
            registry=self.registry,
            storage=FolderStorage(folder / "store"),
            changed=self.given.append,
        )
        self.dispatch.well_until = time.monotonic() + 3600.0
        self.record = JobRecord(self.database)
        self.record.look = self.dispatch.look

    def worker(self, name: str, **said: Any) -> None:
        self.registry.heard(
            WorkerHeartbeat.model_validate(
                {
                    "name": name,
                    "host": "here",
                    "pid": 7,
                    "device": DeviceStatus(name="cpu"),
                    "state": "idle",
                    "versions": {"spectrain": VERSION},
                    "started_at": 1.0,
                    "at": time.time(),
                    **said,
                }
            )
        )

    def submit(self, **asked: Any) -> tuple[int, JobState, str]:
        request = PreprocessRequest(dataset="drums", **asked)
        job = self.record.submit(NewJob(name="job", spec=SPEC, request=request))
        return job.id, job.state, job.worker

    def tickets(self, worker: str) -> int:
        return int(self.redis.llen(device_queue(worker)))


@pytest.fixture
def house(
    tmp_path: Path, record_url: str, redis_server: RedisServer, redis_url: str, owner_password: str
) -> Iterator[House]:
    with Redis(port=redis_server.access.port, username="owner", password=owner_password) as owner:
        owner.flushall()  # jobs of another test have the same numbers
    redis = connect(redis_url)
    house = House(tmp_path, record_url, redis, redis_url)
    yield house
    house.database.close()
    redis.close()


@ON_BOTH
def test_a_new_job_goes_to_a_free_worker_at_once(house: House) -> None:
    house.worker("w1")
    job_id, state, worker = house.submit()
    assert (state, worker, house.tickets("w1")) == (JobState.STARTING, "w1", 1)
    result, attempt = Leases(house.redis).claim(Ticket(job_id=job_id, attempt=1), "w1", 5.0)
    assert result == "claimed"
    assert attempt is not None
    assert attempt.job_id == job_id
    assert house.submit()[1] is JobState.QUEUED, "the worker has a job now"
    assert house.tickets("w1") == 1


@ON_BOTH
def test_it_goes_before_nobody(house: House) -> None:
    assert house.submit()[1] is JobState.QUEUED
    house.worker("w1")
    assert house.submit()[1:] == (JobState.QUEUED, ""), "another one waits already"
    assert house.tickets("w1") == 0


@pytest.mark.parametrize("asked", [{"held": True}, {"device": "mps"}, {"placement": {"labels": ["big"]}}])
def test_it_gets_nothing_that_the_queue_would_not_give_it(house: House, asked: dict[str, Any]) -> None:
    house.worker("w1")
    assert house.submit(**asked)[2] == ""
    assert house.tickets("w1") == 0


@ON_BOTH
@pytest.mark.parametrize(("older", "claimed", "next_one"), [(1, True, 2), (2, True, 3), (2, False, 2)])
def test_a_number_that_redis_knows_from_a_lost_record_gets_a_newer_attempt(
    house: House, older: int, next_one: int, *, claimed: bool
) -> None:
    """The record was restored: what it calls job 1 is another one to Redis, and to whoever runs that."""
    leases = Leases(house.redis)
    leases.grant(1, older, "elsewhere", "of an older job 1")
    if claimed:
        assert leases.offer(AttemptSpec(job_id=1, attempt=older, spec=SPEC, secret="of an older job 1"), "elsewhere")
        assert leases.claim(Ticket(job_id=1, attempt=older), "elsewhere", 5.0)[0] == "claimed"
    house.worker("w1")
    job_id, state, _ = house.submit()
    assert (job_id, state, house.tickets("w1")) == (1, JobState.QUEUED, 0)
    assert not claimed or leases.renew(1, older, "elsewhere", "of an older job 1", 5.0), "it is fenced by what follows"
    given, _ = house.dispatch.give([Assignment(job_id=1, worker="w1")], house.registry.online(), lambda *_: True)
    assert (len(given), house.tickets("w1")) == (1, 1)
    result, attempt = leases.claim(Ticket(job_id=1, attempt=next_one), "w1", 5.0)
    assert result == "claimed"
    assert attempt is not None
    assert attempt.secret != "of an older job 1"


@ON_BOTH
def test_a_job_that_waits_for_another_one_waits(house: House) -> None:
    house.worker("w1")
    house.worker("w2")
    first, _, _ = house.submit()
    assert house.submit(after=[first])[1] is JobState.QUEUED


@ON_BOTH
def test_nothing_is_given_while_the_queue_is_paused_or_not_looked_after(house: House) -> None:
    house.worker("w1")
    with house.database.session() as session:
        set_paused(session, time.time())
    assert house.submit()[1] is JobState.QUEUED
    with house.database.session() as session:
        set_paused(session, None)
    house.dispatch.well_until = 0.0
    assert house.submit()[1] is JobState.QUEUED
    assert house.tickets("w1") == 0


def test_a_worker_that_got_a_job_meanwhile_gets_no_second_one(house: House) -> None:
    """A round of the scheduler decides by what it read; a submission may have come between."""
    waiting, _, _ = house.submit(held=True)
    house.worker("w1")
    taken, _, worker = house.submit()
    assert worker == "w1"
    decided = [Assignment(job_id=waiting, worker="w1")]
    given, broken = house.dispatch.give(decided, house.registry.online(), lambda _session, _job: True)
    assert (given, broken, house.given) == ([], set(), [])
    assert house.record.get(waiting).state is JobState.HELD
    assert house.record.get(taken).worker == "w1"


def test_a_job_that_was_deleted_meanwhile_keeps_no_other_from_its_worker(house: House) -> None:
    waiting, _, _ = house.submit()
    house.worker("w1")
    house.worker("w2")
    decided = [Assignment(job_id=waiting + 1, worker="w1"), Assignment(job_id=waiting, worker="w2")]
    given, broken = house.dispatch.give(decided, house.registry.online(), lambda _session, _job: True)
    assert (given, broken) == (decided[1:], set())
    assert house.record.get(waiting).worker == "w2"


def test_a_submission_waits_for_the_registry_before_others_wait_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry writes while it is locked: who waited for it inside a transaction would wait for ever."""
    house.worker("w1")
    online, asked = house.registry.online, threading.Event()

    def ask() -> dict[str, WorkerHeartbeat]:
        asked.set()
        return online()

    monkeypatch.setattr(house.registry, "online", ask)
    submitting = threading.Thread(target=house.submit)
    with house.registry._lock:
        submitting.start()
        assert asked.wait(10.0)
        turn = house.database._turn
        assert isinstance(turn, type(threading.RLock()))
        assert turn.acquire(timeout=10.0), "the submission keeps all writers waiting"
        turn.release()
    submitting.join(10.0)
    assert house.tickets("w1") == 1


def test_a_ticket_that_cannot_be_sent_costs_the_submission_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RedisError("Redis went away")

    house.worker("w1")
    monkeypatch.setattr("shared.lease.Leases.offer", refuse)
    assert house.submit()[1:] == (JobState.STARTING, "w1"), "it is sent again, as one that was lost"
    assert house.tickets("w1") == 0


def test_a_job_that_cannot_be_taken_back_at_once_costs_the_submission_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    Leases(house.redis).grant(1, 2, "elsewhere")

    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("UPDATE jobs", {}, Exception("database or disk is full"))

    house.worker("w1")
    monkeypatch.setattr("api.queue.dispatch.take_back", refuse)
    assert house.submit()[1:] == (JobState.STARTING, "w1"), "the scheduler takes it back as one that nobody claimed"
