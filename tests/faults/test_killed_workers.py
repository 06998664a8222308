"""Workers and trainers that are killed: their jobs go on elsewhere, their devices are free at once."""

from __future__ import annotations

import fcntl
import random
import time
from collections.abc import Callable

import psutil

from tests.faults.counting import LAPSE_S, Fault
from tests.faults.histories import repeated_s, whole_history
from tests.faults.quick_trainer import DIES
from tests.faults.quick_worker import QUICK_WORKER
from tests.processes import descendants, seconds_until_gone
from tests.system import LONG, SMALL, System, event_of

CHECKPOINT_S = 1.0
"""Between two checkpoints of a training."""
GONE_S = 2.0
"""A killed worker's trainer is gone after so long …"""
FREE_S = 3.0
"""… and its device free for another one."""


def test_row_03_kill_9_of_the_worker_group_in_mid_job(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    for name in ("w0", "w1"):
        system.start_worker(name)
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG, "checkpoint_every_s": CHECKPOINT_S})
    slowest_s = 0.0
    for attempt in range(1, count(2, 20) + 1):
        saved = system.wait_event(job_id, event_of(attempt, "checkpoint"))["body"]["step"]
        system.wait_event(job_id, event_of(attempt, "steps", after_step=saved))
        worker = system.get(f"/jobs/{job_id}")["worker"]
        below = descendants(system.pid(worker))
        assert below, "a worker at work has a trainer"
        system.kill_group(worker)
        killed_at = time.monotonic()
        seconds_until_gone(below, limit(GONE_S))
        fault.injected()
        system.wait_event(job_id, event_of(attempt + 1, "steps"), limit(LAPSE_S))
        slowest_s = max(slowest_s, time.monotonic() - killed_at)
        system.start_worker(worker)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")

    histories = whole_history(system, job_id)
    assert len(histories) == fault.injected_count + 1
    repeated = repeated_s(histories)
    assert max(repeated) <= limit(CHECKPOINT_S + 0.5), "more than one checkpoint interval was repeated"
    fault.held(fault.injected_count)
    fault.note(f"went on within {slowest_s:.1f} s; repeated {max(repeated):.2f} s at most")


def test_row_04_a_trainer_that_exits_137_at_step_0(system: System, fault: Fault) -> None:
    system.start_worker("w0", module=QUICK_WORKER)
    job_id = system.train("sounds", **{**SMALL, "epochs": 1, "seed": DIES})
    job = system.wait_job(job_id, "failed")
    ended = [event["body"]["outcome"] for event in system.events(job_id, "attempt_ended")]
    assert ended == ["crashed"] * 3, "it happened three times"
    assert not system.events(job_id, "steps"), "it happened before the first step"
    fault.injected(len(ended))
    assert job["attempt"] == 3
    assert job["reason"].startswith("The trainer was killed by the system, most likely because memory ran out")
    after = system.train("sounds", **{**SMALL, "epochs": 1})
    system.wait_job(after, "completed")
    fault.held(len(ended))


def test_row_09_kill_9_of_the_supervisor(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    """At random moments between the worker's start and the middle of a training."""
    chance = random.Random(9)
    system.start_worker("w0")
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG, "checkpoint_every_s": CHECKPOINT_S})
    system.wait_event(job_id, event_of(1, "checkpoint"))
    gone, free = [], []
    for _ in range(count(3, 50)):
        time.sleep(chance.uniform(0.0, 4.0))
        worker = psutil.Process(system.pid("w0"))
        below = worker.children(recursive=True)
        assert below, "a worker has a trainer from its start on"
        worker.kill()
        killed_at = time.monotonic()
        system.kill("w0")
        fault.injected()
        gone.append(seconds_until_gone(below, limit(GONE_S)))
        with (system.data / "locks" / "w0.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where anybody still holds it
        free.append(time.monotonic() - killed_at)
        assert free[-1] <= limit(FREE_S)
        system.start_worker("w0")
        fault.held()
    step = system.get(f"/jobs/{job_id}")["progress"]["step"]
    system.wait_job(job_id, lambda job: job["progress"]["step"] > step)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    whole_history(system, job_id)
    fault.note(f"children gone within {max(gone):.2f} s, device free within {max(free):.2f} s")
