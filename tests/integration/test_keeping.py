"""What is kept and what goes, with real processes: garbage is collected beside a running job, again and again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from shared.event_bus import DELETED_TTL_S
from shared.lease import lease_key
from shared.redis_client import KEY_PREFIX, connect
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, assert_history_is_whole, first_step

MANY = 300_000
"""Events that take a good while to delete."""
FIRST = 1_000
"""Number of the first of them: the job's own, which may come into the record meanwhile, are below."""
QUICK: dict[str, Any] = {**SMALL, "expansion": 2, "checkpoint_every_s": 1.0}


@pytest.fixture
def system(tmp_path: Path, redis_url: str) -> Iterator[System]:
    with System(tmp_path / "data", redis_url) as system:
        system.start_api()
        system.start_worker()
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 6))
        yield system


def collect(system: System) -> list[str]:
    answer = system.post("/disk/garbage/collect", {"fresh_s": 0})
    assert answer["left"] == []
    return [item["key"] for item in answer["removed"]]


def test_garbage_goes_beside_jobs_that_run_and_wait(system: System, redis_url: str) -> None:
    redis = connect(redis_url)
    store = system.data / "store"
    done = system.train("kicks", **QUICK, epochs=1)
    system.wait_job(done, "completed")
    system.post(f"/jobs/{done}/checkpoints/{system.get(f'/jobs/{done}')['last_checkpoint']}/pin")
    running = system.train("kicks", **QUICK, epochs=LONG)
    body = {"kind": "train", "dataset": "kicks", "changes": {**QUICK, "epochs": 2}, "start": {"job": done}}
    waiting = int(system.post("/jobs", body)["id"])
    system.watch(waiting)
    first_step(system, running)

    (store / "jobs" / "999" / "checkpoints" / "1-1").mkdir(parents=True)
    (store / "jobs" / "999" / "checkpoints" / "1-1" / "state.pt").write_bytes(b"left")
    (store / "clips" / ("f" * 64)).write_bytes(b"left")
    assert collect(system) == [f"clips/{'f' * 64}", "jobs/999"]
    for _ in range(8):
        assert collect(system) == []
        before = system.get(f"/jobs/{running}")["last_checkpoint"]
        system.post(f"/jobs/{running}/save")
        system.wait_job(running, lambda job, before=before: job["last_checkpoint"] != before)
    system.post(f"/jobs/{running}/cancel")
    system.wait_job(running, "cancelled")
    assert collect(system) == []
    job = system.wait_job(waiting, "completed")
    assert job["start"]["job_id"] == done
    assert_history_is_whole(system, running)
    assert not [event for event in system.events(waiting, "warning") if event["body"]["code"] == "data"]

    for job_id in (running, done):
        plan = system.get(f"/jobs/{job_id}/deletion")
        freed = system.http.delete(f"/jobs/{job_id}").json()
        assert freed["freed_bytes"] == plan["size_bytes"] > 0
        assert not (store / "jobs" / str(job_id)).exists()
        for key in (lease_key(job_id), f"{KEY_PREFIX}job:{job_id}:numbers"):
            assert 0 < cast(int, redis.ttl(key)) <= DELETED_TTL_S
    assert system.http.get(f"/jobs/{done}").status_code == 404
    assert collect(system) == [], "the job that started from it has weights of its own, and the same features"
    assert system.get(f"/jobs/{waiting}")["state"] == "completed"
    again = int(system.post(f"/jobs/{waiting}/duplicate")["id"])
    assert again > waiting
    system.watch(again)
    system.wait_job(again, "completed")


def test_a_deletion_during_which_the_api_was_killed_is_finished_when_it_starts(tmp_path: Path, redis_url: str) -> None:
    with System(tmp_path / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 4))
        job_id = int(system.post("/jobs", {"kind": "train", "dataset": "kicks", "held": True})["id"])
        system.post(f"/jobs/{job_id}/cancel")
        artifact = system.data / "store" / "jobs" / str(job_id) / "plan.json"
        artifact.parent.mkdir(parents=True)
        artifact.write_text("{}")
        with closing(sqlite3.connect(system.data / "record.db", timeout=30)) as record, ThreadPoolExecutor() as pool:
            columns = "job_id, number, attempt, type, at, body"
            rows = ((job_id, FIRST + number, '{"type": "log", "message": ""}') for number in range(MANY))
            with record:
                record.executemany(f"INSERT INTO job_events ({columns}) VALUES (?, ?, 0, 'log', 1.0, ?)", rows)

            def left(first: int = FIRST) -> int:
                counted = "SELECT count(*) FROM job_events WHERE job_id = ? AND number >= ?"
                return record.execute(counted, (job_id, first)).fetchone()[0]

            before, deadline = left(), time.monotonic() + 120.0
            asked = pool.submit(system.http.delete, f"/jobs/{job_id}")
            while left() == before:
                assert time.monotonic() < deadline
            system.kill("api")
            with pytest.raises(httpx.TransportError):
                asked.result()
            assert 0 < left() < before, "it was killed in the middle"
            system.start_api()
            while artifact.exists() or system.http.get(f"/jobs/{job_id}").is_success:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert left(0) == 0
