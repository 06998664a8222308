"""What an operator sees of a full run: metrics that moved, logs that say what they are about, no secret anywhere."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.redis_server import RedisServer
from tests.conftest import running_redis
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, first_step


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory, redis_binary: Path, owner_password: str) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), redis_binary, owner_password) as server:
        yield server


class Run:
    """A training that was cancelled, one that ended, a worker with a token, a Redis that was away for a moment."""

    def __init__(self, system: System, redis: RedisServer, folder: Path) -> None:
        self.system = system
        self.folder = folder
        self.token: str = system.post("/tokens", {"name": "far"})["secret"]
        self.secrets = {self.token, *redis.access.passwords.values()}
        system.start_worker(
            "far",
            SPECTRAIN_DATA=str(folder / "far"),
            SPECTRAIN_STORAGE=system.url,
            SPECTRAIN_TOKEN=self.token,
            REDIS_URL=redis.url("worker"),
        )
        self.cancelled = system.train("sounds", **{**SMALL, "epochs": LONG, "checkpoint_every_s": 5.0})
        first_step(system, self.cancelled)
        self._keep_secrets()
        self.running = self._wait_metrics("spectrain_jobs state=running", 1.0)
        # Everybody says what they think of a Redis that is away, and how they get it back.
        before = {name: len(text) for name, text in self.logs().items()}
        redis.kill()
        wrong = system.http.get("/store/names/clips", headers={"Authorization": f"Bearer {self.token}x"})
        assert wrong.status_code in (401, 403), wrong.text
        for name, says in (("far", "presence.unreachable"), ("api", "background.trouble")):
            self._wait_line(name, says, after=before[f"{name}.log"])
        redis.start()
        system.wait_event(self.cancelled, lambda event: event["body"]["type"] == "checkpoint")
        system.post(f"/jobs/{self.cancelled}/cancel")
        system.wait_job(self.cancelled, "cancelled")
        self.completed = system.train("sounds", **{**SMALL, "epochs": 2})
        system.wait_job(self.completed, "completed")
        self._keep_secrets()
        self.metrics_after = self._wait_metrics("spectrain_jobs state=completed", 1.0)
        assert system.stop("far") == 0
        assert system.stop("api") == 0

    def metrics(self) -> dict[str, float]:
        """Each value that is told, by its name and labels."""
        text = httpx.get(f"{self.system.url}/metrics").text
        return {
            " ".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def _wait_metrics(self, name: str, value: float) -> dict[str, float]:
        """The metrics once one has come to a value: what the record is asked is kept for some seconds."""
        deadline = time.monotonic() + 30.0
        while (metrics := self.metrics())[name] != value:
            assert time.monotonic() < deadline, f"{name} is {metrics[name]}"
            time.sleep(0.2)
        return metrics

    def _wait_line(self, name: str, event: str, *, after: int) -> None:
        """Wait until a process has written a record of an event beyond the first `after` characters."""
        deadline = time.monotonic() + 30.0
        while f'"{event}"' not in self.logs()[f"{name}.log"][after:]:
            assert time.monotonic() < deadline, f"{name} never wrote {event}"
            time.sleep(0.05)

    def _keep_secrets(self) -> None:
        with sqlite3.connect(self.system.data / "record.db") as record:
            self.secrets |= {secret for (secret,) in record.execute("SELECT secret FROM jobs") if secret}
        record.close()

    def logs(self) -> dict[str, str]:
        """What each process wrote."""
        return {path.name: path.read_text() for path in sorted(self.folder.rglob("*.log"))}

    def records(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.logs()[f"{name}.log"].splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("operations")
    with System(folder / "data", redis.url("api"), log_level="debug") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        yield Run(system, redis, folder)


def test_metrics_moved(run: Run) -> None:
    running, after = run.running, run.metrics_after
    assert running["spectrain_jobs state=running"] == 1
    assert running["spectrain_sockets_open"] >= 1
    assert running["spectrain_workers state=busy"] == 1
    assert after["spectrain_jobs state=cancelled"] == 1
    assert after["spectrain_lease_renewals_total device=cpu worker=far"] > 0
    assert after["spectrain_device_memory_used_bytes device=cpu worker=far"] > 0
    assert after["spectrain_job_wait_seconds_count"] >= 2
    assert after["spectrain_event_lag_seconds_count"] > 10
    assert after["spectrain_steps_total"] > 10
    assert after["spectrain_checkpoint_seconds_count"] >= 2
    assert after["spectrain_checkpoint_bytes_total"] > 0
    assert after["spectrain_attempts_ended_total outcome=completed"] == 1
    assert after["spectrain_attempts_ended_total outcome=cancelled"] == 1


def test_every_line_is_a_record(run: Run) -> None:
    for name in ("api", "far"):
        assert len(run.records(name)) > 10
        for record in run.records(name):
            assert {"event", "level", "timestamp"} <= record.keys(), record


def test_lines_say_what_they_are_about(run: Run) -> None:
    for record in run.records("far"):
        assert (record["worker"], record["device"]) == ("far", "cpu"), record
    assert [record["event"] for record in run.records("far")].count("worker.stopping") == 1
    for event in ("attempt.started", "attempt.ended", "presence.unreachable"):
        about = [record for record in run.records("far") if record["event"] == event]
        assert about, event
        for record in about:
            assert record["job"] in (run.cancelled, run.completed)
            assert record["attempt"] >= 1
    asked = [record for record in run.records("api") if record["event"] == "request.answered"]
    assert len({record["request"] for record in asked}) == len(asked)
    [cancel] = [record for record in asked if record["path"].endswith("/cancel")]
    assert cancel["job"] == run.cancelled
    troubles = [record for record in run.records("api") if record["event"] == "background.trouble"]
    assert troubles, "Redis was away"
    assert all("part" in record for record in troubles)


def test_no_secret_is_in_any_log(run: Run) -> None:
    assert len(run.secrets) >= 7, "the token, four passwords, two attempts"
    for name, text in run.logs().items():
        for secret in run.secrets:
            assert secret not in text, f"{name} tells a secret"
