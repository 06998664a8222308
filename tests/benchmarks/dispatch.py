"""From submitted to started, on an idle worker: `delay` of stock Celery, and ours from HTTP to the claimed lease.

Both sides use one Redis protocol server as people get it, and keep their connection from turn to turn, `delay` to
Redis and ours to the api. Stock Celery is a worker with one process and its default settings, whose task tells when it
began. Ours begins with the HTTP request and ends with the claim of the lease, by Redis' own clock (in milliseconds).
They take turns; each of our jobs is cancelled, and its worker settles before the next turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from redis import Redis

from deploy.redis_server import RedisServer
from shared.lease import Leases, lease_key
from tests.benchmarks.measuring import Options, Results, latencies
from tests.benchmarks.stock_celery import STARTED_KEY, app, begin
from tests.sounds import write_sounds
from tests.system import ROOT, System

_TURNS = 60
_LEASE_S = 30.0
_SETTLE_S = 5.0
"""A worker needs about so long to have its next trainer warm."""
_LIMIT_S = 60.0


def measure(options: Options) -> Results:
    """Milliseconds of both sides; the ratio is ours by the baseline's, of medians."""
    data = options.folder
    server = RedisServer(data, log=data / "redis.log")
    server.start()
    url = server.url("api")
    stock: list[float] = []
    ours: list[float] = []
    try:
        with (
            Redis.from_url(url, decode_responses=True) as redis,
            System(data / "data", url, lease_s=str(_LEASE_S)) as system,
            _stock_worker(url, data / "stock.log"),
        ):
            system.start_api()
            system.add_dataset("sounds", write_sounds(data / "sounds", 6))
            system.start_worker()
            app.conf.broker_url = url
            connection = HTTPConnection(str(system.http.base_url.host), system.http.base_url.port)
            _delay(redis)  # connects
            _submit(system, connection, redis)
            for _ in range(_TURNS):
                time.sleep(_SETTLE_S)
                stock.append(_delay(redis))
                ours.append(_submit(system, connection, redis))
            connection.close()
    finally:
        server.stop()
    baseline, measured = latencies(stock), latencies(ours)
    return {"dispatch": {"baseline": baseline, "ours": measured, "ratio": measured["p50_ms"] / baseline["p50_ms"]}}


@contextmanager
def _stock_worker(url: str, log_path: Path) -> Generator[None]:
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tests.benchmarks.stock_celery", "worker", "-c", "1"],
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": url},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            worker.terminate()
            worker.wait(30)


def _delay(redis: Redis) -> float:
    """Seconds from `delay` to the beginning of the task."""
    delayed_at = time.time()
    begin.delay()
    told = redis.blpop([STARTED_KEY], timeout=_LIMIT_S)
    assert told, "stock Celery did not begin its task"
    return float(told[1]) - delayed_at


def _submit(system: System, connection: HTTPConnection, redis: Redis) -> float:
    """Seconds from the request to the claimed lease."""
    leases = Leases(redis)
    body = json.dumps({"kind": "preprocess", "dataset": "sounds"})
    submitted_at = time.time()
    connection.request("POST", "/api/v1/jobs", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    job = json.loads(answer.read())
    assert answer.status == HTTPStatus.CREATED, job
    job_id = int(job["id"])
    while not leases.status(job_id).claimed:
        assert time.time() - submitted_at < _LIMIT_S, "nobody claimed the job"
        time.sleep(0.001)
    until_ms = float(str(redis.hget(lease_key(job_id), "until")))
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, lambda job: job["state"] in ("cancelled", "completed"))
    return until_ms / 1e3 - _LEASE_S - submitted_at
