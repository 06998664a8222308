"""Workers that are told to stop, and jobs that are cancelled, at the worst moments."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from tests.faults.counting import Fault
from tests.faults.histories import whole_history
from tests.faults.quick_trainer import STAYS
from tests.faults.quick_worker import QUICK_WORKER
from tests.system import LONG, SMALL, System, event_of

STOPPED_S = 15.0
"""A worker that was told to stop is gone after so long, its training saved."""
SAVED_S = 2.0
"""A cancelled training is saved after so long and one step."""
MOMENTS = ("steps", "save", "preview", "set-up", "start")
LANES = 2
"""Trainings that are interrupted side by side."""


def test_row_08_sigterm_at_random_points(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    """In steps, while a checkpoint or a preview is made, while the trainer is set up, while the worker starts."""
    jobs = [system.train("sounds", **{**SMALL, "epochs": LONG, "seed": seed}) for seed in range(LANES)]
    for index in range(LANES + 1):
        system.start_worker(f"w{index}")
    stops: list[tuple[str, float]] = []
    turns = {f"w{index}": threading.Lock() for index in range(LANES + 1)}
    with ThreadPoolExecutor(LANES) as lanes:
        times = count(3, 50)
        stopping = [
            lanes.submit(_stop_again_and_again, system, job, times, limit, stops=stops, turns=turns) for job in jobs
        ]
        for done in stopping:
            done.result()
    fault.injected(len(stops))
    for job_id in jobs:
        system.post(f"/jobs/{job_id}/cancel")
        system.wait_job(job_id, "cancelled")
        ended = [event["body"]["outcome"] for event in system.events(job_id, "attempt_ended")]
        assert set(ended[:-1]) == {"handed_back"}, "each attempt was saved and given back"
        for before, after in pairwise(whole_history(system, job_id)):
            assert after.first == before.last + 1, "a step was done twice"
    fault.held(len(stops))
    seconds = sorted(took_s for _, took_s in stops)
    fault.note(f"gone within {seconds[-1]:.1f} s, median {seconds[len(seconds) // 2]:.1f} s")


def _stop_again_and_again(
    system: System,
    job_id: int,
    times: int,
    limit: Callable[[float], float],
    *,
    stops: list[tuple[str, float]],
    turns: Mapping[str, threading.Lock],
) -> None:
    """Stop the worker that has the job, and start it anew; keep when it was told and how long it took."""
    chance = random.Random(job_id)
    index = 0
    while index < times:
        moment = MOMENTS[(job_id * times + index) % len(MOMENTS)]
        worker, attempt = _at_work(system, job_id, limit, stepping=moment in {"steps", "save", "preview"})
        with turns[worker]:
            if not _is_there(system, job_id, worker, attempt):
                continue  # the other lane stopped it meanwhile
            if moment in {"save", "preview"}:
                system.post(f"/jobs/{job_id}/{moment}")
            time.sleep(chance.uniform(0.0, 0.5))
            told_at = time.monotonic()
            assert system.stop(worker, limit(STOPPED_S)) == 0, system.log(worker)
            stops.append((moment, time.monotonic() - told_at))
            system.wait_job(job_id, lambda job, attempt=attempt: job["state"] == "queued" or job["attempt"] > attempt)
            if moment == "start":
                # The next one is stopped before it is there, or with the other lane's job; it must end just as well.
                system.begin_worker(worker)
                time.sleep(chance.uniform(0.0, 2.0))
                assert system.stop(worker, limit(STOPPED_S)) in {0, -15}, system.log(worker)
            system.start_worker(worker)
            index += 1


def _is_there(system: System, job_id: int, worker: str, attempt: int) -> bool:
    job = system.get(f"/jobs/{job_id}")
    return job["state"] in {"starting", "running"} and (job["worker"], job["attempt"]) == (worker, attempt)


def _at_work(system: System, job_id: int, limit: Callable[[float], float], *, stepping: bool) -> tuple[str, int]:
    """The worker and the attempt that are at the job; with `stepping` one that has done steps."""
    while True:
        job = system.wait_job(job_id, lambda job: job["state"] in {"starting", "running"}, limit(30.0))
        attempt: int = job["attempt"]
        if not stepping:
            return job["worker"], attempt
        # Another lane may stop this worker too: then a later attempt does the steps.
        event = system.wait_event(
            job_id,
            lambda event, attempt=attempt: event["body"]["type"] == "steps" and event["attempt"] >= attempt,
            limit(30.0),
        )
        if event["attempt"] == attempt:
            return job["worker"], attempt


def test_row_10_cancels_of_queued_jobs(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    """Some are cancelled while nobody is there, some in the moment that workers come for them."""
    jobs = [system.train("sounds", **{**SMALL, "seed": STAYS}) for _ in range(count(12, 100))]
    half = len(jobs) // 2
    for job_id in jobs[:half]:
        assert system.post(f"/jobs/{job_id}/cancel")["state"] == "cancelled"
    for name in ("w0", "w1"):
        system.start_worker(name, module=QUICK_WORKER)
    never_given = jobs[:half]
    for job_id in reversed(jobs[half:]):
        if system.post(f"/jobs/{job_id}/cancel")["state"] == "cancelled":
            never_given.append(job_id)
    for job_id in jobs:
        system.wait_job(job_id, "cancelled", limit(10.0))
    fault.injected(len(jobs))
    after = system.train("sounds", **SMALL)
    system.wait_job(after, "completed")
    for job_id in jobs:
        job = system.get(f"/jobs/{job_id}")
        assert job["state"] == "cancelled"
        if job_id in never_given:
            assert not system.events(job_id, "attempt_started"), f"job {job_id} started after it was cancelled"
            assert job["attempt"] == 0
    fault.held(len(jobs))
    fault.note(f"{len(never_given)} before they were given to a worker, none of those started")


def test_row_10_cancels_of_running_jobs(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    """Real trainings: saved soon, at the step that they had come to."""
    for name in ("w0", "w1"):
        system.start_worker(name)
    took: list[float] = []
    lock = threading.Lock()

    def cancel_each(times: int) -> None:
        chance = random.Random(times)
        for _ in range(times):
            job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
            system.wait_event(job_id, event_of(1, "steps"))
            time.sleep(chance.uniform(0.0, 1.0))
            asked_at = time.time()
            system.post(f"/jobs/{job_id}/cancel")
            saved = system.wait_event(job_id, lambda event: event["body"].get("reason") == "cancel", limit(30.0))
            system.wait_job(job_id, "cancelled", limit(10.0))
            (history,) = whole_history(system, job_id)
            assert saved["body"]["step"] == history.last, "no step is done after the checkpoint"
            with lock:
                took.append(saved["at"] - asked_at)

    with ThreadPoolExecutor(2) as lanes:
        for done in [lanes.submit(cancel_each, count(2, 30)) for _ in range(2)]:
            done.result()
    fault.injected(len(took))
    step_s = 0.1  # far above what a step of this size takes
    within_s = sorted(took)[max(0, round(0.99 * len(took)) - 1)]
    assert within_s <= limit(SAVED_S + step_s), f"99 % were saved within {within_s:.2f} s"
    fault.held(len(took))
    fault.note(f"saved within {within_s:.2f} s (99 %), median {statistics.median(took):.2f} s")


def test_row_10_cancels_while_the_workers_restart(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    """The worker is told to stop, or killed, just before or just after the cancel: the job never comes back."""
    chance = random.Random(10)
    system.start_worker("w0", module=QUICK_WORKER)
    for index in range(count(4, 40)):
        job_id = system.train("sounds", **{**SMALL, "seed": STAYS})
        system.wait_event(job_id, event_of(1, "steps"))
        if index % 4 == 0:
            system.post(f"/jobs/{job_id}/cancel")
            system.kill("w0")
        else:
            signalled = threading.Thread(target=system.stop, args=("w0", limit(STOPPED_S)))
            signalled.start()
            time.sleep(chance.uniform(0.0, 0.5))
            system.post(f"/jobs/{job_id}/cancel")
            signalled.join()
        fault.injected()
        attempts = system.get(f"/jobs/{job_id}")["attempt"]
        system.start_worker("w0", module=QUICK_WORKER)
        job = system.wait_job(job_id, "cancelled", limit(20.0))
        assert job["attempt"] == attempts, "a cancelled job was given out again"
        fault.held()
    after = system.train("sounds", **SMALL)
    system.wait_job(after, "completed")
