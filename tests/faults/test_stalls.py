"""Processes that stand still: one trainer alone, and everything at once, as when a laptop sleeps."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from tests.faults.counting import LAPSE_S, LEASE_S, Fault
from tests.processes import continue_all, descendants, stop_all
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, JobJson, System, assert_history_is_whole, first_step, steps_of, trainers_of

STALL_S = 5.0
MORE_STEPS = 20
HOUR_S = 3600.0

STEPPED_CLOCK = """
import mmap, os, struct, time

with open(os.environ["STEPPED_CLOCK"], "rb") as _file:
    _step = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_system_time = time.time
time.time = lambda: _system_time() + struct.unpack("d", _step)[0]
"""
"""Runs before everything else in each process: its clock is the system's plus a number in a file."""

Limit = Callable[[float], float]
Count = Callable[[int, int], int]


@pytest.fixture
def system(tmp_path: Path, redis_url: str, owner: Redis) -> Iterator[System]:
    """Api and dataset, with a short stall limit."""
    owner.flushall()  # what the system of another test left: its jobs have the same numbers
    with System(tmp_path / "data", redis_url, lease_s=f"{LEASE_S:g}", stall_s=f"{STALL_S:g}") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        yield system


def test_row_14_a_trainer_stopped_alone(system: System, fault: Fault, count: Count, limit: Limit) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    for attempt in range(1, count(1, 3) + 1):
        system.wait_event(job_id, of_attempt(attempt, "checkpoint"))
        (trainer,) = trainers_of(system, "w1")
        stop_all([trainer.pid])
        fault.injected()
        started = time.monotonic()
        ended = system.wait_event(job_id, of_attempt(attempt, "attempt_ended"), limit(STALL_S + LEASE_S + 5.0))
        seconds = time.monotonic() - started
        assert seconds > STALL_S / 2
        assert ended["body"]["reason"] == f"The trainer made no progress for {STALL_S:.0f} s, so it was stopped."
        trainer.wait(5.0)
        system.wait_event(job_id, of_attempt(attempt + 1, "steps"), limit(60.0))
        fault.held()
        fault.note(f"given up after {seconds:.1f} s")


def of_attempt(attempt: int, kind: str) -> Callable[[JobJson], bool]:
    return lambda event: event["attempt"] == attempt and event["body"]["type"] == kind


@pytest.fixture
def step_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Steps the clock of every process that is started from now on, this one excepted, by so many seconds."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(STEPPED_CLOCK)
    step = tmp_path / "clock" / "step"
    step.write_bytes(struct.pack("d", 0.0))
    monkeypatch.setenv("STEPPED_CLOCK", str(step))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(step.parent), os.environ.get("PYTHONPATH", "")]))

    def by(seconds: float) -> None:
        with step.open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("d", seconds))

    return by


@pytest.mark.parametrize("by_s", [HOUR_S, pytest.param(-HOUR_S, marks=pytest.mark.full)], ids=["forward", "backward"])
def test_row_21_a_machine_that_slept_and_whose_clock_was_stepped(
    *,
    step_clock: Callable[[float], None],
    system: System,
    redis_server: RedisServer,
    owner: Redis,
    fault: Fault,
    count: Count,
    by_s: float,
) -> None:
    """Everything stands still for as many leases as ten minutes are of those that people have."""
    for name in ("w1", "w2"):
        system.start_worker(name)
    jobs = [system.train("sounds", **{**SMALL, "epochs": LONG}) for _ in range(2)]
    for job_id in jobs:
        first_step(system, job_id)
    before = {job_id: system.get(f"/jobs/{job_id}")["progress"]["step"] for job_id in jobs}
    told_at = {job_id: system.events(job_id)[-1]["at"] for job_id in jobs}
    roots = [system.pid(name) for name in ("api", "w1", "w2")]
    stopped = [*roots, *(process.pid for root in roots for process in descendants(root))]
    stop_all(stopped)
    stop_all([redis_server.pid])
    time.sleep(LEASE_S * count(4, 20))
    step_clock(by_s)
    continue_all([redis_server.pid])
    lapsed = step_redis(owner, by_s)
    assert set(jobs) <= lapsed
    fault.injected(len(jobs))
    continue_all(stopped)

    until = time.monotonic() + LAPSE_S
    for job_id in jobs:
        system.wait_job(job_id, lambda job: job["progress"]["step"] > before[job["id"]] + MORE_STEPS)
    time.sleep(max(0.0, until - time.monotonic()))  # by then a reaper that was misled would have acted
    for job_id in jobs:
        system.post(f"/jobs/{job_id}/cancel")
        job = system.wait_job(job_id, "cancelled")
        assert job["attempt"] == 1, job
        assert steps_of(system, job_id) == list(range(1, job["last_checkpoint_step"] + 1))
        assert_history_is_whole(system, job_id)
        # By the clocks of trainer and api: those whose data do not say otherwise were stepped with them.
        assert_stepped(system.events(job_id)[-1]["at"] - told_at[job_id], by_s)
        assert_stepped(job["ended_at"] - time.time(), by_s)
        fault.held()
    fault.note(f"clock stepped by {by_s:+.0f} s")


def assert_stepped(difference_s: float, by_s: float) -> None:
    """Two times are apart by what the clock was stepped, not by what the test took."""
    assert abs(difference_s - by_s) < HOUR_S / 2, f"{difference_s:+.0f} s, not {by_s:+.0f} s"


def step_redis(owner: Redis, by_s: float) -> set[int]:
    """What Redis' clock does to its data when it is stepped, since a server has no clock of its own to step.

    Leases end sooner or later by so much; what was to expire has expired. Returns the jobs whose lease changed.
    """
    leases = list(owner.scan_iter("spectrain:job:*:lease"))
    for lease in leases:
        owner.hincrby(lease, "until", round(-by_s * 1000))
    if by_s > 0:
        for key in owner.scan_iter("spectrain:*"):
            if owner.ttl(key) >= 0:
                owner.delete(key)
    return {int(str(lease).split(":")[2]) for lease in leases}
