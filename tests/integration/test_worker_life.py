"""A worker's life through real processes: Redis away, its consumer deaf, its job's time over, the worker stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from shared.tickets import device_queue
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, assert_history_is_whole, first_step, steps_of

ENDLESS: dict[str, Any] = {**SMALL, "epochs": LONG}
AWAY_S = 5


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("life")
    # A lease so long that no attempt is taken back while its worker starts on a busy machine.
    limits = {"redis_away_s": str(AWAY_S), "worker_silent_s": "10", "stream_events": "100", "lease_s": "60"}
    with System(folder / "data", redis_url, **limits) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        yield system


@pytest.fixture(autouse=True)
def _ended(system: System) -> Iterator[None]:
    """A test that failed leaves no worker to the next one."""
    yield
    if system.runs("w1"):
        system.kill("w1")


def assert_nothing_is_missing(system: System, job_id: int) -> None:
    """Numbers without a gap or a double, and every step up to the saved one, once."""
    assert_history_is_whole(system, job_id)
    steps = steps_of(system, job_id)
    assert steps == list(range(1, len(steps) + 1))


def test_a_training_without_redis_pauses_in_the_end_and_tells_it_later(
    system: System, redis_server: RedisServer
) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **ENDLESS)
    first_step(system, job_id)
    trainer = next(
        child for child in psutil.Process(system.pid("w1")).children() if "worker.trainer" in child.cmdline()
    )
    redis_server.kill()
    # Nothing can be told: that the device is free again shows only there.
    trainer.wait(timeout=120)
    redis_server.start()
    job = system.wait_job(job_id, "paused")
    assert job["reason"].startswith(f"Redis could not be reached for {AWAY_S} s. Saved step "), job["reason"]
    assert job["attempt"] == 1
    assert steps_of(system, job_id)[-1] == job["last_checkpoint_step"]
    assert_nothing_is_missing(system, job_id)
    assert system.stop("w1") == 0


def test_a_worker_that_stops_without_redis_leaves_its_end_to_the_next_one(
    system: System, redis_server: RedisServer
) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **ENDLESS)
    first_step(system, job_id)
    redis_server.kill()
    assert system.stop("w1", timeout_s=60) == 0, system.log("w1")
    (spool,) = (system.data / "spool").iterdir()
    assert '"outcome":"handed_back"' in spool.read_text()
    redis_server.start()
    system.start_worker("w1")
    job = system.wait_job(job_id, lambda job: job["attempt"] == 2 and job["state"] == "running")
    told = [event["body"] for event in system.events(job_id, "state")]
    assert any("Its worker was stopped. Saved step" in each["reason"] for each in told), told
    system.post(f"/jobs/{job_id}/cancel")
    job = system.wait_job(job_id, "cancelled")
    assert job["last_checkpoint_step"] == steps_of(system, job_id)[-1]
    assert_nothing_is_missing(system, job_id)
    assert list((system.data / "spool").iterdir()) == []
    assert system.stop("w1") == 0


def test_a_job_saves_and_pauses_at_its_time_limit(system: System) -> None:
    system.start_worker("w1")
    body = {"kind": "train", "dataset": "sounds", "changes": ENDLESS, "placement": {"time_limit_s": 20}}
    job_id = int(system.post("/jobs", body)["id"])
    job = system.wait_job(job_id, "paused")
    assert job["reason"].startswith("Its time limit of 20 s is reached. "), job["reason"]
    assert system.stop("w1") == 0


@contextmanager
def deaf(redis: Redis, worker: str) -> Iterator[None]:
    """Somebody takes all messages of `worker` before its consumer does."""
    done = threading.Event()

    def take() -> None:
        while not done.is_set():
            redis.blpop([device_queue(worker)], timeout=1)

    # The consumer waits in the same line: two takers leave it one message of three, but none in a row for long.
    takers = [threading.Thread(target=take) for _ in range(8)]
    for taker in takers:
        taker.start()
    try:
        yield
    finally:
        done.set()
        for taker in takers:
            taker.join()


def test_a_worker_whose_consumer_hears_nothing_starts_itself_anew(
    system: System, redis_server: RedisServer, owner_password: str
) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **ENDLESS)
    first_step(system, job_id)
    before = psutil.Process(system.pid("w1"))
    access = redis_server.access
    with (
        Redis(host=access.host, port=access.port, username="owner", password=owner_password) as redis,
        deaf(redis, "w1"),
    ):
        queued = system.wait_job(job_id, lambda job: "Its worker was stopped" in job["reason"], timeout_s=180)
    assert queued["last_checkpoint_step"] > 0
    assert '"event": "worker.deaf"' in system.log("w1")
    job = system.wait_job(job_id, lambda job: job["state"] == "running" and job["attempt"] > 1)
    assert job["worker"] == "w1"
    assert before.is_running(), "the same process began anew"
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    assert_nothing_is_missing(system, job_id)
    assert system.stop("w1") == 0


def test_a_heartbeat_tells_of_the_machine(system: System) -> None:
    system.start_worker("w1")
    (worker,) = [each for each in system.get("/workers")["workers"] if each["name"] == "w1"]
    assert worker["threads"] >= 1
    assert worker["device"]["memory_others_bytes"] > 0
    assert system.stop("w1") == 0


def test_a_stream_that_the_api_does_not_read_is_bounded_and_all_of_it_is_recorded_later(
    system: System, redis_server: RedisServer, owner_password: str
) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **ENDLESS)
    first_step(system, job_id)
    system.kill("api")
    access = redis_server.access
    with Redis(host=access.host, port=access.port, username="owner", password=owner_password) as redis:
        spool = system.data / "spool" / f"{job_id}-1.jsonl"
        waited = threading.Event()
        for _ in range(1_200):
            if spool.exists():
                break
            waited.wait(0.1)  # nobody tells of a file
        assert spool.exists()
        assert redis.xlen(f"spectrain:job:{job_id}:events") == 100
    system.start_api()
    system.post(f"/jobs/{job_id}/cancel")
    job = system.wait_job(job_id, "cancelled")
    assert job["attempt"] == 1
    assert steps_of(system, job_id)[-1] == job["last_checkpoint_step"]
    assert_nothing_is_missing(system, job_id)
    assert system.stop("w1") == 0
