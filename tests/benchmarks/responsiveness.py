"""How soon a person sees what they asked for: the api's start and size, the first step, the saved step.

One warm worker on the processor, real processes, Socket.IO as a browser uses it. Features and execution plan are
cached by a first job; each figure is the median of five.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil

from deploy.redis_server import RedisServer
from tests.benchmarks.corpus import usable_sounds
from tests.benchmarks.measuring import Options, Results
from tests.sounds import write_sounds
from tests.system import System

_ROUNDS = 5
_SETTLE_S = 4.0
"""A worker needs about so long to have its next trainer warm."""


def measure(options: Options) -> Results:
    """Seconds and MiB, by case."""
    data = options.folder
    sounds = usable_sounds(options.corpus) if options.corpus else write_sounds(data / "sounds", 24)
    server = RedisServer(data, log=data / "redis.log")
    server.start()
    try:
        with System(data / "data", server.url("api")) as system:
            return _measure(system, sounds)
    finally:
        server.stop()


def _measure(system: System, sounds: list[Path]) -> Results:
    starts: list[float] = []
    for _ in range(_ROUNDS):
        starts.append(system.start_api())
        system.kill("api")
    system.start_api()
    api = psutil.Process(system.pid("api"))
    memory = sum(process.memory_full_info().pss for process in [api, *api.children(recursive=True)]) / 2**20
    system.start_worker()
    system.add_dataset("sounds", sounds)
    system.wait_job(system.train("sounds", epochs=1), "completed", timeout_s=600)

    first_steps: list[float] = []
    cancels: list[float] = []
    writes: list[float] = []
    for _ in range(_ROUNDS):
        time.sleep(_SETTLE_S)
        submitted = time.monotonic()
        job_id = system.train("sounds", epochs=1000)
        system.wait_event(job_id, lambda event: event["body"]["type"] == "steps")
        first_steps.append(time.monotonic() - submitted)
        cancelled = time.monotonic()
        system.post(f"/jobs/{job_id}/cancel")
        event = system.wait_event(job_id, lambda event: event["body"].get("reason") == "cancel")
        cancels.append(time.monotonic() - cancelled)
        writes.append(event["body"]["seconds"])
        system.wait_job(job_id, "cancelled")
    return {
        "api": {"start_s": statistics.median(starts), "memory_mib": memory},
        "first step": {"submit_to_browser_s": statistics.median(first_steps), "slowest_s": max(first_steps)},
        "cancel": {"wish_to_event_s": statistics.median(cancels), "write_s": statistics.median(writes)},
    }
