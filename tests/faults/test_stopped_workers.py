"""Workers that stop for a while and come back, believing that the job is still theirs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis

from shared.lease import Leases
from tests.faults.counting import LAPSE_S, LEASE_S, Fault
from tests.faults.histories import whole_history
from tests.processes import continue_all, stop_all
from tests.system import SMALL, JobJson, System, final_weights, trainers_of

COMPLETED_S = 600.0
"""What an interrupted training may take, on a machine that is busy."""


def test_row_11_a_worker_stopped_for_twice_the_lease_or_until_its_job_is_elsewhere(
    system: System,
    fault: Fault,
    count: Callable[[int, int], int],
    limit: Callable[[float], float],
    owner: redis.Redis,
) -> None:
    """Supervisor and trainer, or the supervisor alone, whose trainer goes on."""
    lanes, each = count(1, 4), count(3, 25)
    training = {**SMALL, "epochs": count(12, 40), "seed": 11, "checkpoint_every_s": 1.0}
    for index in range(lanes + 1):
        system.start_worker(f"w{index}")
    reference = system.train("sounds", **training)
    system.wait_job(reference, "completed", COMPLETED_S)
    expected = final_weights(system, reference)
    elsewhere = 0

    def stop_again_and_again(lane: int) -> int:
        chance, done, taken = random.Random(lane), 0, 0
        while done < each:
            job_id = system.train_like(reference, "sounds", **training)
            while done < each and (job := _wait_for_steps(system, job_id))["state"] != "completed":
                taken += _stop(
                    system, owner, job, limit, alone=chance.random() < 0.5, until_taken=chance.random() < 0.5
                )
                fault.injected()
                done += 1
            system.wait_job(job_id, "completed", COMPLETED_S)
            whole_history(system, job_id)
            assert final_weights(system, job_id) == expected
        return taken

    with ThreadPoolExecutor(lanes) as pool:
        for taken in [pool.submit(stop_again_and_again, lane) for lane in range(lanes)]:
            elsewhere += taken.result()
    fault.held(fault.injected_count)
    fault.note(f"{elsewhere} of the jobs had gone elsewhere when their worker came back")


def _wait_for_steps(system: System, job_id: int) -> JobJson:
    """The job, once its newest attempt steps or all is done."""

    def at_work(job: JobJson) -> bool:
        attempt = job["attempt"]
        told = any(
            event["attempt"] == attempt and event["body"]["type"] == "steps" for event in system.live_events(job_id)
        )
        return job["state"] == "completed" or (job["state"] == "running" and told)

    return system.wait_job(job_id, at_work)


def _stop(
    system: System,
    owner: redis.Redis,
    job: JobJson,
    limit: Callable[[float], float],
    *,
    alone: bool,
    until_taken: bool,
) -> bool:
    """Stop the job's worker and let it go on; returns whether the job had gone elsewhere meanwhile."""
    pids = [system.pid(job["worker"])]
    pids += [] if alone else [trainer.pid for trainer in trainers_of(system, job["worker"])]
    stop_all(pids)
    try:
        time.sleep(2 * LEASE_S)
        lease = Leases(owner).status(job["id"])
        assert lease.left_s < 0 or lease.granted > job["attempt"], "the lease lapsed"
        if until_taken:
            system.wait_job(
                job["id"], lambda now: now["attempt"] > job["attempt"] or now["state"] == "completed", limit(LAPSE_S)
            )
        return Leases(owner).status(job["id"]).granted > job["attempt"]
    finally:
        continue_all(pids)
