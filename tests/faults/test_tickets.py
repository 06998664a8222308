"""Tickets that are lost with their worker, and tickets that come again and again."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

import redis
from celery import Celery
from sqlalchemy import select

from api.record.attempts import attempt_spec
from api.record.database import Database
from api.record.tables import Job
from shared.jobs import AttemptSpec, Ticket
from shared.lease import attempt_key
from shared.tickets import device_queue, make_celery, send_ticket
from tests.faults.counting import Fault
from tests.faults.quick_trainer import STAYS
from tests.faults.quick_worker import QUICK_WORKER
from tests.processes import continue_all, stop_all
from tests.system import SMALL, JobJson, System

ELSEWHERE_S = 25.0
"""A job whose ticket was lost with its worker starts elsewhere after so long."""
TOGETHER = 4
"""Tickets that are lost at the same time."""
COPIES = 5

Result = tuple[str, str, int]
"""Of a ticket: who brought it, what came of it, and its job."""


def test_row_01_a_ticket_deleted_from_its_queue_and_its_worker_killed(
    system: System,
    fault: Fault,
    count: Callable[[int, int], int],
    limit: Callable[[float], float],
    owner: redis.Redis,
) -> None:
    slowest_s = 0.0
    rounds, together = count(1, 3), count(2, TOGETHER)
    workers = [f"w{index}" for index in range(2 * together)]
    for _ in range(rounds):
        _start_missing(system, workers)
        # Workers that are stopped are still given jobs for a while, but take nothing from their queues.
        stop_all(system.pid(name) for name in workers)
        _wait_no_taker(owner)
        jobs = [system.train("sounds", **{**SMALL, "seed": STAYS}) for _ in range(together)]
        victims = [system.wait_job(job, "starting", limit(8.0))["worker"] for job in jobs]
        for victim in victims:
            _delete_ticket(owner, victim)
        for victim in victims:
            system.kill(victim)
        lost_at = time.monotonic()
        continue_all(system.pid(name) for name in system.workers())
        fault.injected(together)
        slowest_s = max(slowest_s, _wait_elsewhere(system, jobs, victims, lost_at, limit(ELSEWHERE_S)))
        fault.held(together)
    fault.note(f"started elsewhere within {slowest_s:.1f} s")


def test_row_01_a_worker_killed_between_taking_its_ticket_and_claiming_it(
    system: System, fault: Fault, count: Callable[[int, int], int], limit: Callable[[float], float]
) -> None:
    slowest_s = 0.0
    rounds, together = count(1, 2), count(2, TOGETHER)
    workers = [f"w{index}" for index in range(2 * together)]
    for _ in range(rounds):
        _start_missing(system, workers)
        for name in workers:
            (system.data / f"dies-{name}").touch()
        jobs = [system.train("sounds", **{**SMALL, "seed": STAYS}) for _ in range(together)]
        victims = [system.wait_job(job, "starting", limit(8.0))["worker"] for job in jobs]
        lost_at = time.monotonic()
        for name in workers:
            if name not in victims:
                (system.data / f"dies-{name}").unlink()
        for victim in victims:
            assert system.wait_end(victim, limit(5.0)) == -9
            assert (system.data / f"died-{victim}").exists(), "it died with the ticket in its hand"
            (system.data / f"died-{victim}").unlink()
        fault.injected(together)
        slowest_s = max(slowest_s, _wait_elsewhere(system, jobs, victims, lost_at, limit(ELSEWHERE_S)))
        fault.held(together)
    fault.note(f"started elsewhere within {slowest_s:.1f} s")


def test_row_02_each_ticket_five_times_to_three_workers(
    system: System, fault: Fault, count: Callable[[int, int], int], redis_url: str, owner: redis.Redis
) -> None:
    workers = ["w0", "w1", "w2"]
    for name in workers:
        system.start_worker(name, module=QUICK_WORKER)
    before = _results(system, workers)
    jobs = [system.train("sounds", **SMALL) for _ in range(count(12, 200))]
    celery, database = make_celery(redis_url), Database(f"sqlite:///{system.data / 'record.db'}")
    specs: dict[int, tuple[str, AttemptSpec]] = {}
    while len(specs) < len(jobs):
        with database.reading() as session:
            given = session.scalars(select(Job).where(Job.id.in_(jobs), Job.attempt > 0, Job.id.not_in(specs)))
            new = {job.id: (job.worker, attempt_spec(session, job)) for job in given}
        for worker, spec in new.values():
            # The one that claims once finds the specification again, which its claim had dropped.
            _leave(owner, [worker], spec)
            _send_copies(celery, workers, spec, COPIES)
        specs |= new
        time.sleep(0.02)
    for job_id in jobs:
        system.wait_job(job_id, "completed")
    sent = len(jobs) * len(workers) * COPIES
    # A copy that came to a worker at work was dropped before the guard, and most found no specification: once more,
    # with one at each worker, until each job's copies met it.
    deadline = time.monotonic() + 240.0
    met = Counter[int]()
    while min(met[job_id] for job_id in jobs) < len(workers):
        assert time.monotonic() < deadline, f"copies met the guard: {met}"
        for job_id in jobs:
            if met[job_id] < len(workers):
                _leave(owner, workers, specs[job_id][1])
                _send_copies(celery, workers, specs[job_id][1], 1)
                sent += len(workers)
        results = _wait_arrived(system, workers, before, sent + len(jobs), deadline)
        met = Counter[int]()
        for (_, result, job_id), number in results.items():
            met[job_id] += number if result == "taken" else 0
    database.close()
    celery.close()
    fault.injected(len(jobs))
    assert sum(number for (_, result, _), number in results.items() if result == "claimed") == len(jobs)
    for job_id in jobs:
        started = system.events(job_id, "attempt_started")
        assert [event["attempt"] for event in started] == [1], f"job {job_id} ran {len(started)} times"
        assert system.get(f"/jobs/{job_id}")["attempt"] == 1
    fault.held(len(jobs))
    fault.note(f"{sent} copies, {met.total()} met the guard")


def _start_missing(system: System, workers: list[str]) -> None:
    for name in workers:
        if name not in system.workers():
            system.start_worker(name, module=QUICK_WORKER)


def _wait_no_taker(owner: redis.Redis) -> None:
    """Wait until no command of a stopped worker waits in the server: it would still be given the next ticket."""
    deadline = time.monotonic() + 60.0
    while any(client["cmd"] == "brpop" and "b" in client["flags"] for client in owner.client_list()):
        assert time.monotonic() < deadline, "a stopped worker still waits for tickets"
        time.sleep(0.01)


def _delete_ticket(owner: redis.Redis, worker: str) -> None:
    """Wait until the ticket is in the worker's queue, and delete it; after some seconds it comes a second time."""
    deadline = time.monotonic() + 60.0
    while not owner.delete(device_queue(worker)):
        assert time.monotonic() < deadline, f"no ticket came to {worker}"
        time.sleep(0.005)


def _wait_elsewhere(system: System, jobs: list[int], victims: list[str], lost_at: float, limit_s: float) -> float:
    """Wait until each job steps on a worker that is none of the `victims`, then end it; returns how long it took."""
    for job_id in jobs:
        left_s = limit_s - (time.monotonic() - lost_at)
        system.wait_job(job_id, _steps_elsewhere(victims), left_s)
    took_s = time.monotonic() - lost_at
    for job_id in jobs:
        system.post(f"/jobs/{job_id}/cancel")
    for job_id in jobs:
        system.wait_job(job_id, "cancelled")
    return took_s


def _steps_elsewhere(victims: list[str]) -> Callable[[JobJson], bool]:
    return lambda job: job["state"] == "running" and job["worker"] not in victims


def _leave(owner: redis.Redis, workers: list[str], spec: AttemptSpec) -> None:
    """Leave the specification at each worker, as the scheduler does for one."""
    left = {"attempt": spec.attempt, "secret": spec.secret, "specification": spec.model_dump_json()}
    for worker in workers:
        owner.hset(attempt_key(worker, spec.job_id), mapping=left)


def _send_copies(celery: Celery, workers: list[str], spec: AttemptSpec, copies: int) -> None:
    """Send the ticket of `spec` to each worker, so often."""
    for worker in workers:
        for _ in range(copies):
            send_ticket(celery, worker, Ticket(job_id=spec.job_id, attempt=spec.attempt))


def _wait_arrived(
    system: System, workers: list[str], before: Counter[Result], wanted: int, deadline: float
) -> Counter[Result]:
    """Wait until Celery brought so many tickets."""
    while True:
        results = _results(system, workers) - before
        arrived = sum(number for (brought_by, _, _), number in results.items() if brought_by == "celery")
        if arrived >= wanted:
            return results
        assert time.monotonic() < deadline, f"{arrived} of {wanted} tickets arrived: {results}"
        time.sleep(0.1)


def _results(system: System, workers: list[str]) -> Counter[Result]:
    """How many tickets the workers took so far, by who brought them, what came of it, and job."""
    results = Counter[Result]()
    for name in workers:
        for line in (system.data / f"{name}.log").read_text(encoding="utf-8").splitlines(keepends=True):
            # The worker may be writing the last one.
            if '"event": "ticket"' in line and line.endswith("\n"):
                ticket = json.loads(line)
                results[ticket["brought_by"], ticket["result"], ticket["job"]] += 1
    return results
