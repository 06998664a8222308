"""Notifications with real processes: a webhook hears of what ended, failed or needs somebody, also after a restart."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.notify.webhook import signature
from tests.receiver import Receiver
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, event_of

QUICK: dict[str, Any] = {**SMALL, "expansion": 2, "checkpoint_every_s": 1.0}
RETRIED_S = 60.0
"""The second try is ten seconds after the first."""


@pytest.fixture
def system(tmp_path: Path, redis_url: str) -> Iterator[System]:
    with System(tmp_path / "data", redis_url, notify_private="true") as system:
        system.start_api()
        system.start_worker("w1")
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 6))
        yield system


def pause(system: System, job_id: int, attempt: int) -> Path:
    """Pause a job that has saved something; the folder of its checkpoints."""
    system.wait_event(job_id, event_of(attempt, "checkpoint"))
    system.post(f"/jobs/{job_id}/pause")
    system.wait_job(job_id, "paused")
    return system.data / "store" / "jobs" / str(job_id) / "checkpoints"


def settled(system: System, waiting: int) -> str:
    """Why the newest try failed, once the api has noted what became of it."""
    deadline = time.monotonic() + 20.0
    while True:
        [target] = system.get("/notifications")["targets"]
        if target["waiting"] == waiting and bool(target["last_error"]) is bool(waiting):
            return target["last_error"]
        assert time.monotonic() < deadline, target
        time.sleep(0.05)


def test_a_webhook_hears_of_the_end_of_trouble_and_of_a_failure(system: System, receiver: Receiver) -> None:
    secret = system.post("/notifications", {"url": receiver.url})["secret"]
    receiver.statuses = [503]
    done = system.train("kicks", **QUICK, epochs=1)
    system.wait_job(done, "completed")
    receiver.wait(1)
    assert settled(system, 1) == "127.0.0.1 answered with status 503."
    system.kill("api")
    system.start_api()
    first, second = receiver.wait(2, RETRIED_S)
    assert first == second, "what was not taken comes again, and the same"
    assert (first["event"], first["job"]["id"], first["job"]["state"]) == ("finished", done, "completed")

    hurt = system.train("kicks", **QUICK, epochs=LONG)
    checkpoints = pause(system, hurt, 1)
    newest = system.get(f"/jobs/{hurt}")["last_checkpoint"]
    (checkpoints / newest / "manifest.json").write_bytes(b"damaged")
    system.post(f"/jobs/{hurt}/resume")
    needs = receiver.wait(3)[2]
    assert (needs["event"], needs["job"]["id"]) == ("attention", hurt)
    assert newest in needs["message"]

    shutil.rmtree(pause(system, hurt, 2))
    system.post(f"/jobs/{hurt}/resume")
    system.wait_job(hurt, "failed")
    failed = receiver.wait(4)[3]
    assert (failed["event"], failed["job"]["state"]) == ("failed", "failed")
    assert failed["message"] == system.get(f"/jobs/{hurt}")["reason"] != ""

    deliveries = [headers["X-Spectrain-Delivery"] for _, headers, _ in receiver.came]
    assert deliveries[0] == deliveries[1]
    assert len(set(deliveries)) == 3
    for _, headers, body in receiver.came:
        assert headers["X-Spectrain-Signature"] == signature(secret, headers["X-Spectrain-Timestamp"], body)
    assert settled(system, 0) == ""
