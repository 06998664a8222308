"""A backup with real processes: made while trainings run, put back where nothing is left, and the trainings go on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from redis import Redis

from deploy.redis_server import RedisServer
from tests.sounds import write_sounds
from tests.system import LONG, ROOT, SMALL, System, assert_history_is_whole, event_of, final_weights

QUICK: dict[str, Any] = {**SMALL, "checkpoint_every_s": 1.0}
EPOCHS = 30


def spectrain(data: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and what was said aside."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "SPECTRAIN_DATA": str(data), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def pause_in_the_middle(system: System, job_id: int, wanted_step: int) -> None:
    system.wait_event(job_id, event_of(1, "steps", after_step=wanted_step))
    system.post(f"/jobs/{job_id}/pause")
    job = system.wait_job(job_id, lambda job: job["state"] in ("paused", "completed"))
    assert job["state"] == "paused", "it was too short to be paused"


def is_barred_by_what_redis_holds(data: Path, folder: Path, redis_url: str) -> bool:
    code, _, said = spectrain(data, "restore", str(folder), "--yes", REDIS_URL=redis_url)
    return code == 4 and "still holds what an installation left" in said


def test_a_wiped_installation_is_put_back_and_goes_on_exactly(
    tmp_path: Path, redis_url: str, redis_server: RedisServer, owner_password: str
) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    with System(data, redis_url) as system:
        system.start_api()
        system.start_worker("w1")
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 6))
        whole = system.train("kicks", **QUICK, epochs=EPOCHS)
        system.wait_job(whole, "completed")
        paused = system.train_like(whole, "kicks", **QUICK, epochs=EPOCHS)
        pause_in_the_middle(system, paused, 3)
        step = system.get(f"/jobs/{paused}")["progress"]["step"]
        running = system.train("kicks", **QUICK, epochs=LONG)
        # The record has it, too: a backup is made of that, and not of what is told live.
        system.wait_job(running, lambda job: job["state"] == "running" and bool(job["last_checkpoint"]))

        code, out, said = spectrain(data, "backup", str(folder), "--json")
        assert code == 0, said
        made = json.loads(out)
        assert made["lost"] == []
        assert made["jobs"] == {"completed": 1, "paused": 1, "running": 1}
        saved = system.get(f"/jobs/{running}")["last_checkpoint"]
        system.wait_job(running, lambda job: job["last_checkpoint"] != saved)  # it went on meanwhile
        expected = final_weights(system, whole)
        history = system.events(paused)

    shutil.rmtree(data)
    access = redis_server.access
    with Redis(host=access.host, port=access.port, username="owner", password=owner_password) as redis:
        assert is_barred_by_what_redis_holds(data, folder, redis_url)
        redis.flushall()

    code, out, said = spectrain(data, "restore", str(folder), "--dry-run", REDIS_URL=redis_url)
    assert (code, data.exists()) == (0, False), said
    code, out, said = spectrain(data, "restore", str(folder), "--yes", REDIS_URL=redis_url)
    assert code == 0, said
    code, _, said = spectrain(data, "restore", str(folder), "--yes", REDIS_URL=redis_url)
    assert code == 4, "never over something"

    with System(data, redis_url) as system:
        system.start_api()
        assert system.events(paused) == history
        assert system.get(f"/jobs/{paused}")["progress"]["step"] == step
        assert final_weights(system, whole) == expected
        system.start_worker("w1")
        for job_id in (paused, running):
            system.watch(job_id)
        system.wait_job(running, lambda job: job["attempt"] == 2 and job["state"] == "running")
        system.post(f"/jobs/{running}/cancel")
        system.wait_job(running, "cancelled")
        system.post(f"/jobs/{paused}/resume")
        system.wait_job(paused, "completed")
        assert final_weights(system, paused) == expected, "it went on bit for bit"
        for job_id in (paused, running):
            assert_history_is_whole(system, job_id)
        assert system.post("/disk/garbage/collect", {"fresh_s": 0})["left"] == [], "record and store know each other"


def test_a_store_in_a_bucket_is_backed_up_and_put_back(tmp_path: Path, redis_url: str, s3_server: str) -> None:
    assert s3_server
    data, folder, bucket = tmp_path / "data", tmp_path / "backup", "s3://spectrain/backed-up"
    with System(data, redis_url, storage=bucket) as system:
        system.start_api()
        system.start_worker("w1")
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 4))
        job_id = system.train("kicks", **QUICK, epochs=2)
        system.wait_job(job_id, "completed")
        expected = final_weights(system, job_id)
        code, _, said = spectrain(data, "backup", str(folder), SPECTRAIN_STORAGE=bucket)
        assert code == 0, said

    other = tmp_path / "other"
    code, _, said = spectrain(other, "restore", str(folder), "--yes", SPECTRAIN_STORAGE=bucket)
    assert (code, "is not empty" in said) == (4, True), said
    code, _, said = spectrain(other, "restore", str(folder), "--yes", SPECTRAIN_STORAGE="s3://spectrain/put-back")
    assert code == 0, said
    with System(other, redis_url, storage="s3://spectrain/put-back") as system:
        system.start_api()
        assert final_weights(system, job_id) == expected
