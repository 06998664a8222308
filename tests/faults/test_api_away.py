"""The api killed under load, and away for so long that Redis holds no more of what trainers tell."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from shared.redis_client import connect
from tests.faults.counting import LEASE_S, Fault
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, assert_history_is_whole, first_step, steps_of
from worker.spool import spool_folder

MORE_STEPS = 20
SPOOL_GONE_S = 10.0
SEED = 20
STREAM_EVENTS = 100
"""Of one job that Redis may hold: the least that the settings allow."""

Count = Callable[[int, int], int]


class Load:
    """Submits jobs and cancels them, as fast as it goes, whatever happens to the api."""

    def __init__(self, url: str) -> None:
        self.accepted: dict[int, bool] = {}
        """Jobs whose submission was answered, and whether their cancelling was."""
        self.failures = 0
        self._url = url
        self._closed = threading.Event()

    def run(self) -> None:
        request = {"kind": "train", "dataset": "sounds", "changes": SMALL}
        with httpx.Client(base_url=f"{self._url}/api/v1", timeout=10.0) as http:
            while not self._closed.is_set():
                try:
                    answer = http.post("/jobs", json=request)
                    if answer.is_success:
                        job_id = int(answer.json()["id"])
                        self.accepted[job_id] = False
                        self.accepted[job_id] = http.post(f"/jobs/{job_id}/cancel").is_success
                except httpx.TransportError:
                    self.failures += 1
                    self._closed.wait(0.05)

    def stop(self) -> None:
        self._closed.set()


@contextmanager
def load(url: str) -> Iterator[Load]:
    """Load from two clients at once."""
    loads = [Load(url) for _ in range(2)]
    threads = [threading.Thread(target=each.run, daemon=True) for each in loads]
    for thread in threads:
        thread.start()
    total = Load(url)
    try:
        yield total
    finally:
        for each in loads:
            each.stop()
        for thread in threads:
            thread.join()
        for each in loads:
            total.accepted |= each.accepted
            total.failures += each.failures


def test_row_20_an_api_killed_under_load(system: System, fault: Fault, count: Count) -> None:
    chance = random.Random(SEED)
    for name in ("w1", "w2"):
        system.start_worker(name)
    jobs = [system.train("sounds", **{**SMALL, "epochs": LONG}) for _ in range(2)]
    for job_id in jobs:
        first_step(system, job_id)
    kills = count(2, 20)
    with load(system.url) as total:
        for _ in range(kills):
            threading.Event().wait(chance.uniform(0.5, 2.0))
            api = psutil.Process(system.pid("api"))
            system.kill("api")
            assert not api.is_running()
            fault.injected()
            system.start_api()
            before = {job_id: system.get(f"/jobs/{job_id}")["progress"]["step"] for job_id in jobs}
            for job_id in jobs:
                job = wait_past(system, job_id, before[job_id] + MORE_STEPS)
                assert (job["attempt"], job["state"]) == (1, "running"), job
            fault.held()
    assert total.failures >= kills, "nobody asked anything while the api was away"
    for job_id, cancelled in total.accepted.items():
        job = system.get(f"/jobs/{job_id}")
        assert job["state"] == "cancelled" or not cancelled, job
        if job["state"] != "cancelled":
            system.post(f"/jobs/{job_id}/cancel")
    for job_id in jobs:
        system.post(f"/jobs/{job_id}/cancel")
    for job_id in jobs:
        job = system.wait_job(job_id, "cancelled")
        assert job["attempt"] == 1
        assert steps_of(system, job_id) == list(range(1, job["last_checkpoint_step"] + 1))
        assert_history_is_whole(system, job_id)
    fault.note(f"{len(total.accepted)} submissions answered, {total.failures} requests failed")


@pytest.fixture
def narrow_redis(tmp_path: Path, redis_binary: Path) -> Iterator[RedisServer]:
    """A server of its own, since the api of the other tests records what the module's server holds."""
    server = RedisServer(tmp_path / "redis", log=tmp_path / "redis.log", binary=redis_binary)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def narrow(tmp_path: Path, narrow_redis: RedisServer) -> Iterator[System]:
    """A system whose streams hold few events."""
    settings = {"lease_s": f"{LEASE_S:g}", "stream_events": str(STREAM_EVENTS)}
    with System(tmp_path / "data", narrow_redis.url("api"), **settings) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        yield system


@pytest.mark.full
def test_row_22_an_api_that_is_away_for_long(
    narrow: System, narrow_redis: RedisServer, fault: Fault, count: Count
) -> None:
    redis = connect(narrow_redis.url("api"))
    names = [f"w{number}" for number in range(count(2, 8))]
    for name in names:
        narrow.start_worker(name)
    jobs = [narrow.train("sounds", **{**SMALL, "epochs": LONG}) for _ in names]
    for job_id in jobs:
        first_step(narrow, job_id)
    narrow.kill("api")
    # Until every stream is full, and for as long again: what comes then lies on the workers' disk.
    started = time.monotonic()
    longest = 0
    while len(spooled := spools(narrow)) < len(jobs):
        assert time.monotonic() - started < 600.0, "the streams did not fill"
        longest = max(longest, *(events_held(redis, job_id) for job_id in jobs))
        time.sleep(0.2)
    until = time.monotonic() + max(5.0, time.monotonic() - started)
    while time.monotonic() < until:
        longest = max(longest, *(events_held(redis, job_id) for job_id in jobs))
        time.sleep(0.2)
    assert sum(path.stat().st_size for path in spools(narrow)) > 0
    assert longest <= STREAM_EVENTS, f"{longest} events in one stream"
    fault.injected(len(jobs))
    narrow.start_api()
    for job_id in jobs:
        wait_past(narrow, job_id, narrow.get(f"/jobs/{job_id}")["progress"]["step"] + MORE_STEPS)
        narrow.post(f"/jobs/{job_id}/cancel")
    for job_id in jobs:
        job = narrow.wait_job(job_id, "cancelled")
        assert job["attempt"] == 1
        assert steps_of(narrow, job_id) == list(range(1, job["last_checkpoint_step"] + 1))
        assert_history_is_whole(narrow, job_id)
        fault.held()
    redis.close()
    gone_by = time.monotonic() + SPOOL_GONE_S
    while spools(narrow):  # a worker removes the file once the last event is sent, and tells nobody
        assert time.monotonic() < gone_by, "a spool outlived what was in it"
        time.sleep(0.05)
    fault.note(f"{len(spooled)} jobs, at most {longest} events in a stream")


def spools(system: System) -> list[Path]:
    return list(spool_folder(system.data).glob("*.jsonl"))


def events_held(redis: Redis, job_id: int) -> int:
    return int(str(redis.xlen(f"spectrain:job:{job_id}:events")))


def wait_past(system: System, job_id: int, step: int) -> dict[str, object]:
    return system.wait_job(job_id, lambda job: job["progress"]["step"] > step)
