"""How soon many jobs are in the queue: a batch beside one HTTP call for each, through a real api process.

No worker is there, so that nothing but the submitting is timed; both sides submit the same requests, in turns.
"""

from __future__ import annotations

import time
from typing import Final

from deploy.redis_server import RedisServer
from tests.benchmarks.corpus import usable_sounds
from tests.benchmarks.measuring import Options, Results, faster, interleaved
from tests.sounds import write_sounds
from tests.system import System

_JOBS: Final = 1_000
_ROUNDS: Final = 3


def measure(options: Options) -> Results:
    """Seconds for 1,000 jobs, and the jobs that were submitted in all."""
    data = options.folder
    sounds = usable_sounds(options.corpus) if options.corpus else write_sounds(data / "sounds", 24)
    server = RedisServer(data, log=data / "redis.log")
    server.start()
    try:
        with System(data / "data", server.url("api")) as system:
            system.start_api()
            system.add_dataset("sounds", sounds)
            return _measure(system, len(sounds))
    finally:
        server.stop()


def _measure(system: System, files: int) -> Results:
    requests = [
        {"kind": "train", "dataset": "sounds", "changes": {"seed": seed, "latent_dim": 32}} for seed in range(_JOBS)
    ]

    def one_by_one() -> None:
        for request in requests:
            system.post("/jobs", request)

    def batch() -> None:
        assert len(system.post("/jobs/batch", {"jobs": requests})["jobs"]) == _JOBS

    singly_s, batch_s = interleaved(one_by_one, batch, rounds=_ROUNDS, before_each=lambda: _settle(system))
    return {"bulk": faster(singly_s, batch_s, jobs=_JOBS, files=files)}


def _settle(system: System) -> None:
    """Take what the turn before left off the queue, and wait until the api has told everybody of it."""
    while waiting := system.get(f"/jobs?state=queued&limit={_JOBS}")["jobs"]:
        system.post("/jobs/bulk", {"action": "cancel", "jobs": [job["id"] for job in waiting]})
    newest = system.get("/jobs?limit=1")["jobs"]
    while newest and system.get(f"/jobs/{newest[0]['id']}")["last_event"] < 2:
        time.sleep(0.05)  # its events go through Redis and come back
