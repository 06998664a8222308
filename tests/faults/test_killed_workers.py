"""Workers and trainers that are killed: their jobs go on elsewhere, their devices are free at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.counting import LAPSE_S, Fault
from tests.faults.processes import descendants, seconds_until_gone
from tests.system import LONG, SMALL, System, assert_history_is_whole, event_of, steps_of

CHECKPOINT_S = 1.0


def test_row_03_kill_9_of_the_worker_group_in_mid_job(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    system.start_worker("w0")
    system.start_worker("w1")
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG, "checkpoint_every_s": CHECKPOINT_S})
    slowest_s, most_repeated = 0.0, 0
    for killed in range(count(2, 20)):
        attempt = killed + 1
        saved = system.wait_event(job_id, event_of(attempt, "checkpoint"))["body"]["step"]
        system.wait_event(job_id, event_of(attempt, "steps", after_step=saved))
        worker = system.get(f"/jobs/{job_id}")["worker"]
        below = descendants(system.pid(worker))
        system.kill_group(worker)
        killed_at = time.monotonic()
        assert below, "a worker at work has a trainer"
        seconds_until_gone(below, limit(2.0))
        fault.injected()

        system.wait_event(job_id, event_of(attempt + 1, "steps"), limit(LAPSE_S))
        slowest_s = max(slowest_s, time.monotonic() - killed_at)
        fault.held()
        system.start_worker(worker)
    system.post(f"/jobs/{job_id}/cancel")
    job = system.wait_job(job_id, "cancelled")
    assert set(steps_of(system, job_id)) == set(range(1, job["last_checkpoint_step"] + 1))
    assert_history_is_whole(system, job_id)
    fault.note(f"slowest {slowest_s:.1f} s; {most_repeated} steps")
