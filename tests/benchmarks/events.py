"""From a worker to 200 browsers, each with ten events a second: Flask-SocketIO's message queue, and ours.

Twenty jobs are watched by ten browsers each. Ours goes the whole way: the trainer's reporter, the event bus, the relay,
Socket.IO, while the recorder writes everything to the record. Flask-SocketIO's way keeps nothing: its emitter puts
each event on its message queue at once, and what is lost is lost. The reporter sends ten times a second, which is the
largest part of our median. Browsers are threads of another process on the same machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
from flask_socketio import SocketIO

from deploy.redis_server import RedisServer
from shared.events import LogLine
from shared.lease import Leases
from shared.redis_client import connect
from tests.benchmarks.browsers import PER_ROOM
from tests.benchmarks.measuring import Options, Results, latencies
from tests.benchmarks.stock_sockets import CHANNEL
from tests.sounds import write_sounds
from tests.system import ROOT, System, free_port
from worker.reporter import StreamReporter
from worker.spool import Spool

_JOBS = 20
_SECRET = "only this benchmark knows it"
_EVERY_S = 0.1
_LONGEST_S = 60.0
_ARRIVE_S = 3.0
"""After the last event: whatever has not come by then counts as lost."""
_TEXT = "x" * 200
"""About as long as the metrics of a few steps."""


def measure(options: Options) -> Results:
    """Milliseconds of both sides, events that did not come, and the share of a core that the server used."""
    data = options.folder
    seconds = min(options.seconds, _LONGEST_S)
    server = RedisServer(data, log=data / "redis.log")
    server.start()
    try:
        url = server.url("api")
        baseline = _stock(url, seconds, data)
        ours = _ours(url, seconds, data)
    finally:
        server.stop()
    return {"events": {"baseline": baseline, "ours": ours, "ratio": ours["p99_ms"] / baseline["p99_ms"]}}


def _ours(url: str, seconds: float, data: Path) -> dict[str, float]:
    with System(data / "data", url) as system, ExitStack() as stack:
        system.start_api()
        system.add_dataset("sounds", write_sounds(data / "sounds", 5))
        request = {"kind": "preprocess", "dataset": "sounds"}
        jobs = [int(system.post("/jobs", request)["id"]) for _ in range(_JOBS)]
        with connect(url) as redis:
            for job_id in jobs:
                Leases(redis).grant(job_id, 1, "nobody", _SECRET)
        reporters = [
            stack.enter_context(
                StreamReporter(
                    url,
                    Spool(
                        data / "spool", job_id=job_id, attempt=1, secret=_SECRET, worker="nobody", limit_bytes=1 << 30
                    ),
                    stream_events=10_000,
                    on_fenced=lambda: None,
                    on_steps=lambda: None,
                )
            )
            for job_id in jobs
        ]
        with _browsers(system.url, jobs) as tell:
            sent, busy = _for_a_while(
                seconds,
                [lambda reporter=reporter: reporter.publish(LogLine(message=_TEXT)) for reporter in reporters],
                psutil.Process(system.pid("api")),
            )
            return _figures(tell(), sent, busy)


def _stock(url: str, seconds: float, data: Path) -> dict[str, float]:
    port = free_port()
    with _process([sys.executable, "-m", "tests.benchmarks.stock_sockets", str(port)], url, data) as server:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/socket.io/?EIO=4&transport=polling")
        emitter = SocketIO(message_queue=url, channel=CHANNEL)
        jobs = list(range(1, _JOBS + 1))
        counts = dict.fromkeys(jobs, 0)

        def emit(job_id: int) -> None:
            counts[job_id] += 1
            event = {"job_id": job_id, "number": counts[job_id], "at": time.time(), "body": {"message": _TEXT}}
            emitter.emit("event", event, to=str(job_id))

        with _browsers(address, jobs) as tell:
            sent, busy = _for_a_while(
                seconds, [lambda job_id=job_id: emit(job_id) for job_id in jobs], psutil.Process(server.pid)
            )
            return _figures(tell(), sent, busy)


def _for_a_while(seconds: float, senders: list[Callable[[], object]], server: psutil.Process) -> tuple[int, float]:
    """Let every sender send ten times a second; returns how often each did, and the server's share of a core."""
    began, busy_before = time.monotonic(), _cpu_s(server)
    rounds = int(seconds / _EVERY_S)
    for turn in range(rounds):
        for place, send in enumerate(senders):
            # Jobs do not send in step with each other.
            due = began + (turn + place / len(senders)) * _EVERY_S
            time.sleep(max(0.0, due - time.monotonic()))
            send()
    busy = (_cpu_s(server) - busy_before) / (time.monotonic() - began)
    time.sleep(_ARRIVE_S)
    return rounds, busy


def _figures(told: dict[str, Any], sent: int, busy: float) -> dict[str, float]:
    lost = doubled = 0
    for _, numbers in told["numbers"]:
        newest = sorted(set(numbers))[-sent:]
        lost += sent - len(newest)
        doubled += len(numbers) - len(set(numbers))
    return {**latencies(told["late_s"]), "lost": float(lost), "doubled": float(doubled), "cores": busy}


@contextmanager
def _browsers(url: str, jobs: list[int]) -> Generator[Callable[[], dict[str, Any]]]:
    """200 browsers in a process of their own, all watching; calling what is yielded ends them and tells."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.browsers", url, *(str(job) for job in jobs)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready = _pipe(process.stdout).readline()
        assert ready == "ready\n", f"{PER_ROOM * len(jobs)} browsers did not come to watch"

        def tell() -> dict[str, Any]:
            output, _ = process.communicate()
            return json.loads(output)

        yield tell
    finally:
        process.kill()
        process.wait()


@contextmanager
def _process(command: list[str], url: str, data: Path) -> Generator[subprocess.Popen[bytes]]:
    with (data / "stock.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "REDIS_URL": url}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5.0).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)  # nothing tells when a port opens
    raise AssertionError(f"{url} does not answer")


def _cpu_s(process: psutil.Process) -> float:
    return sum(each.cpu_times().user + each.cpu_times().system for each in [process, *process.children(recursive=True)])


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
