"""Redis stopped, away for minutes, or back with what it knew ten seconds ago."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from deploy.redis_server import RedisServer
from shared.event_bus import EventBus
from tests.faults.counting import Fault
from tests.faults.reports import wait_written, writes, written
from tests.processes import continue_all, stop_all
from tests.system import LONG, SMALL, JobJson, System, assert_history_is_whole, first_step, steps_of

MORE_STEPS = 20

Limit = Callable[[float], float]
Count = Callable[[int, int], int]


def test_row_07_a_stopped_redis_during_writes(
    *,
    system: System,
    redis_server: RedisServer,
    owner: Redis,
    fault: Fault,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both writers of a stream, trainer and api, write while Redis is stopped for less and for more than a timeout."""
    total = count(1_000, 10_000)
    stops_s = [(12.0,), (6.0, 17.0)][count(0, 1)]
    from_api, from_trainer = total // 20, total - total // 20
    lost_answers = count_lost_answers(monkeypatch)
    job_id = submit(system)
    others: list[int] = []
    done = threading.Event()

    def write_through_api() -> None:
        while len(others) < from_api // 2:
            others.append(submit(system))
            system.post(f"/jobs/{others[-1]}/cancel")
        done.set()

    api_writer = threading.Thread(target=write_through_api, daemon=True)
    with writes(
        redis_server.url("worker"), owner, job_id, total=from_trainer, per_s=from_trainer / (2 * sum(stops_s))
    ) as trainer:
        api_writer.start()
        for number, stop_s in enumerate(stops_s, start=1):
            trainer.wait(number / (len(stops_s) + 1))
            stop_for(redis_server, stop_s)
            fault.injected()
    assert done.wait(120.0), "the api did not answer"
    wait_written(system, job_id, from_trainer, 60.0)

    assert lost_answers() > 0, "no write lost its answer"
    assert written(system, job_id) == [f"write {number}" for number in range(1, from_trainer + 1)]
    assert_history_is_whole(system, job_id)
    for other in others:
        system.wait_job(other, lambda job: job["last_event"] >= 2, timeout_s=60.0)
        assert [event["body"]["state"] for event in system.events(other)] == ["queued", "cancelled"]
    fault.held(len(stops_s))
    fault.note(f"{from_trainer} and {from_api} writes, {lost_answers()} sent again")


def submit(system: System) -> int:
    """A job whose live events nobody watches."""
    return int(system.post("/jobs", {"kind": "train", "dataset": "sounds", "changes": SMALL})["id"])


def count_lost_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many calls of the reporter's ended without an answer, and so were made again."""
    send, lost = EventBus.send, [0]

    def counted(self: EventBus, *arguments: Any, **named: Any) -> Any:
        try:
            return send(self, *arguments, **named)
        except RedisError:
            lost[0] += 1
            raise

    monkeypatch.setattr(EventBus, "send", counted)
    return lambda: lost[0]


def stop_for(server: RedisServer, seconds: float) -> None:
    """Stop the server, prove that it does not answer, and have it go on after `seconds`."""
    stop_all([server.pid])
    try:
        started = time.monotonic()
        with Redis.from_url(server.url("api"), socket_timeout=1.0, retry=None) as client, pytest.raises(RedisError):
            client.ping()
        time.sleep(max(0.0, started + seconds - time.monotonic()))
    finally:
        continue_all([server.pid])


@pytest.mark.full
def test_row_12_a_redis_that_is_away_for_minutes(
    system: System, redis_server: RedisServer, fault: Fault, count: Count
) -> None:
    names = [f"w{number}" for number in range(count(2, 8))]
    for name in names:
        system.start_worker(name)
    jobs = [system.train("sounds", **{**SMALL, "epochs": LONG}) for _ in names]
    for job_id in jobs:
        first_step(system, job_id)
    redis_server.kill()
    away_s = count(20, 300)
    time.sleep(away_s)
    assert "Redis does not answer" in httpx.get(f"{system.url}/readyz").json()["checks"]["redis"]
    before = {job_id: system.get(f"/jobs/{job_id}")["progress"]["step"] for job_id in jobs}
    redis_server.start()
    fault.injected(len(jobs))
    for job_id in jobs:
        job = wait_past(system, job_id, before[job_id] + MORE_STEPS)
        assert (job["attempt"], job["state"]) == (1, "running"), job
    for job_id in jobs:
        system.post(f"/jobs/{job_id}/cancel")
    for job_id in jobs:
        job = system.wait_job(job_id, "cancelled")
        assert job["attempt"] == 1, job
        assert steps_of(system, job_id) == list(range(1, job["last_checkpoint_step"] + 1))
        assert_history_is_whole(system, job_id)
        fault.held()
    fault.note(f"{len(jobs)} jobs, away {away_s} s")


def test_row_13_an_append_only_file_of_ten_seconds_ago(
    *, system: System, redis_server: RedisServer, tmp_path: Path, fault: Fault, count: Count, limit: Limit
) -> None:
    file = Path(redis_server.command()[-1]).parent / "appendonlydir"
    for name in ("w1", "w2"):
        system.start_worker(name)
    before_copy = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, before_copy)
    for number in range(count(1, 3)):
        old = tmp_path / f"old-{number}"
        shutil.copytree(file, old)
        # One job that the restored file knows nothing of: neither its attempt nor its claim.
        after_copy = system.train("sounds", **{**SMALL, "epochs": LONG})
        first_step(system, after_copy)
        time.sleep(10.0)
        redis_server.kill()
        assert size_of(old) < size_of(file), "nothing was written since"
        shutil.rmtree(file)
        shutil.copytree(old, file)
        before = {job_id: system.get(f"/jobs/{job_id}")["progress"]["step"] for job_id in (before_copy, after_copy)}
        redis_server.start()
        fault.injected()
        started = time.monotonic()
        for job_id, step in before.items():
            wait_past(system, job_id, step + MORE_STEPS, limit(60.0))
        fault.note(f"going on after {time.monotonic() - started:.1f} s")
        assert_no_step_twice(system, after_copy)
        system.post(f"/jobs/{after_copy}/cancel")
        system.wait_job(after_copy, "cancelled")
        assert_no_step_twice(system, before_copy)
        fault.held()


def wait_past(system: System, job_id: int, step: int, timeout_s: float = 240.0) -> JobJson:
    return system.wait_job(job_id, lambda job: job["progress"]["step"] > step, timeout_s)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def assert_no_step_twice(system: System, job_id: int) -> None:
    """Steps and event numbers rise strictly: what Redis forgot before the api read it is missing, nothing else."""
    for rising in (steps_of(system, job_id), [event["number"] for event in system.events(job_id)]):
        assert rising == sorted(set(rising))
    assert system.get(f"/jobs/{job_id}")["attempt"] == 1
