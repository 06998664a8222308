"""The Redis protocol server is killed and stays away: nothing is lost, and the training does not notice."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from deploy.redis_server import RedisServer
from tests.faults.counting import Fault
from tests.faults.histories import whole_history
from tests.faults.quick_worker import QUICK_WORKER
from tests.system import LONG, SMALL, System, first_step, trainers_of

SHORTEST_AWAY_S = 0.2
MORE_CPU = 0.05
"""Share of CPU time by which a step may cost the training thread more while the server is away."""
THERE_S = 1.0
"""Between two kills."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much CPU time a thread of a process used")
def test_row_05_redis_killed_and_away(
    system: System,
    redis_server: RedisServer,
    fault: Fault,
    count: Callable[[int, int], int],
    limit: Callable[[float], float],
) -> None:
    system.start_worker("w0")
    training = system.train("sounds", **{**SMALL, "epochs": LONG, "checkpoint_every_s": 3600})
    first_step(system, training)
    (trainer,) = trainers_of(system, "w0")
    system.start_worker("w1", module=QUICK_WORKER)

    aways = list(np.geomspace(SHORTEST_AWAY_S, count(6, 30), count(4, 50)))
    random.Random(5).shuffle(aways)
    there, away, jobs = [], [], []
    for index, away_s in enumerate(aways):
        if index % 2:
            jobs.append(system.train("sounds", **SMALL))
        there.append(_watch(trainer, THERE_S))
        server = psutil.Process(redis_server.pid)
        redis_server.kill()
        assert not server.is_running()
        if not index % 2:
            jobs.append(system.train("sounds", **SMALL))
        away.append(_watch(trainer, away_s))
        redis_server.start()
        fault.injected()
    for job_id in jobs:
        assert system.wait_job(job_id, "completed", limit(60.0))
    step = system.get(f"/jobs/{training}")["progress"]["step"]
    system.wait_job(training, lambda job: job["progress"]["step"] > step, limit(30.0))
    system.post(f"/jobs/{training}/cancel")
    job = system.wait_job(training, "cancelled")
    assert job["attempt"] == 1, "the training did not notice"
    (history,) = whole_history(system, training)
    assert history.last == job["last_checkpoint_step"]
    for job_id in jobs:
        whole_history(system, job_id)

    more = _cpu_per_step(away, history.told) / _cpu_per_step(there, history.told) - 1.0
    fault.note(f"{more:+.1%} CPU time of a step while it was away")
    assert more <= count(1, MORE_CPU), "few seconds, beside other work, allow only a coarse look"
    fault.held(fault.injected_count)


def _watch(trainer: psutil.Process, seconds: float) -> tuple[float, float, float]:
    """Let `seconds` pass; returns when that began and ended (since 1970), and the training thread's CPU seconds."""
    began_at, before_s = time.time(), _thread_cpu_s(trainer)
    time.sleep(seconds)
    return began_at, time.time(), _thread_cpu_s(trainer) - before_s


def _thread_cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the process' first thread, which trains."""
    return next(sum(thread[1:]) for thread in process.threads() if thread.id == process.pid)


def _cpu_per_step(windows: list[tuple[float, float, float]], told: list[tuple[int, float]]) -> float:
    """CPU seconds of a step, over all windows; `told` says when which step was done."""
    steps, at = zip(*told, strict=True)
    done = sum(float(np.interp(end, at, steps) - np.interp(began, at, steps)) for began, end, _ in windows)
    return sum(cpu_s for _, _, cpu_s in windows) / done
