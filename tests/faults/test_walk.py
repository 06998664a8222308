"""A night in short: six trainings on three workers, reordered, one worker killed, one drained, one machine joined.

The machine that joins shares no folder with the others. With `--faults` it joins by the very line that a person pastes,
with its own home, its own virtual environment and everything installed from the server; else it runs what that line
ends in. `-s` shows what happened when.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.redis_server import RedisServer
from tests.faults.counting import LEASE_S
from tests.faults.histories import whole_history
from tests.sounds import write_sounds
from tests.system import ROOT, SMALL, System, first_step

JOINED = "attic"
JOIN_LIMIT_S = 900.0
END_LIMIT_S = 1200.0
LEAVE_LIMIT_S = 60.0

Note = Callable[[str], None]
Join = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def system(tmp_path: Path, redis_server: RedisServer, redis_url: str) -> Iterator[System]:
    keeper = redis_server.url("keeper")
    # Trainers that each take all cores would wait for each other at every step.
    with System(tmp_path / "data", redis_url, lease_s=f"{LEASE_S:g}", redis_keeper_url=keeper, threads="1") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        yield system


@pytest.fixture
def note() -> Iterator[Note]:
    """Keeps what happened when, and prints it in the end."""
    began, lines = time.monotonic(), list[str]()
    yield lambda text: lines.append(f"{time.monotonic() - began:6.1f} s  {text}")
    print("\n" + "\n".join(lines))  # noqa: T201


@pytest.fixture
def join(system: System, tmp_path: Path, all_faults: bool) -> Iterator[Join]:
    """Has another machine join: its own home, its own data."""
    machines: list[subprocess.Popen[bytes]] = []
    told = tmp_path / "joining.txt"

    def start() -> subprocess.Popen[bytes]:
        made = system.post("/tokens", {"name": "walk"})
        home = tmp_path / "home"
        home.mkdir()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPECTRAIN_", "PYTHON", "XDG_"))
        }
        environment["HOME"] = str(home)
        if all_faults:
            python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
            line = str(made["command"]).replace("python3", str(python), 1)
            command = ["/bin/sh", "-c", f"exec {line} --name {JOINED} --device cpu"]
        else:
            command = [sys.executable, "-m", "deploy.cli", "worker", "--server", system.url, "--device", "cpu"]
            command += ["--name", JOINED]
            environment |= {"SPECTRAIN_TOKEN": str(made["secret"]), "SPECTRAIN_DATA": str(home / "data")}
            environment |= {"PYTHONPATH": str(ROOT), "SPECTRAIN_THREADS": "1"}
        with told.open("wb") as said:
            machines.append(
                subprocess.Popen(command, cwd=home, env=environment, stdout=said, stderr=said, start_new_session=True)
            )
        return machines[-1]

    yield start
    for machine in machines:
        machine.send_signal(signal.SIGTERM)
        assert machine.wait(LEAVE_LIMIT_S) == 0, told.read_text()[-4000:]


def test_a_night_in_short(system: System, join: Join, note: Note, all_faults: bool) -> None:
    for name in ("one", "two", "three"):
        system.start_worker(name)
    note("three workers are online")
    machine = join() if all_faults else None  # what it installs takes a while

    changes = {**SMALL, "epochs": 1500 if all_faults else 50, "checkpoint_every_s": 2}
    request = {"kind": "train", "dataset": "sounds", "changes": changes}
    jobs: list[int] = system.post("/jobs/batch", {"jobs": [{**request, "name": f"night {n}"} for n in range(1, 7)]})[
        "jobs"
    ]
    for job_id in jobs:
        system.watch(job_id)
    for job_id in jobs[:3]:
        first_step(system, job_id)
    running = {system.get(f"/jobs/{job_id}")["worker"]: job_id for job_id in jobs[:3]}
    note(f"six trainings submitted as a batch; {', '.join(f'{job} on {name}' for name, job in running.items())}")
    fourth, fifth, sixth = jobs[3:]
    # What is fast must not be done before the machine has joined. They wait for it; what is taken back does not.
    for job_id in jobs[3:]:
        system.post(f"/jobs/{job_id}/hold")
    system.post(f"/jobs/{sixth}/move", {"before": fourth})
    note(f"job {sixth} moved before job {fourth}")

    system.post("/workers/drain", {"worker": "three"})
    note("worker three drained: it finishes its job")

    system.wait_event(running["two"], lambda event: event["body"]["type"] == "checkpoint")
    killed = system.pid("two")
    system.kill_group("two")
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    note(f"worker two killed in the middle of job {running['two']}")
    system.wait_job(running["two"], lambda job: job["attempt"] > 1 or job["state"] == "queued")
    note(f"job {running['two']} taken back")

    joined = wait_for_machine(system, machine or join())
    note(f"{JOINED} joined: {joined}")
    system.post("/queue/pause")
    for job_id in jobs[3:]:
        system.post(f"/jobs/{job_id}/release")
    system.post("/queue/resume")

    ended = [system.wait_job(job_id, "completed", END_LIMIT_S) for job_id in jobs]
    for job in sorted(ended, key=lambda job: job["ended_at"]):
        note(
            f"job {job['id']} completed on {job['worker']} as attempt {job['attempt']}, step {job['progress']['step']}"
        )

    # Two workers may begin at one moment: what counts is who was given away first.
    sixth_at, fourth_at, fifth_at = (given_away_at(system, job_id) for job_id in (sixth, fourth, fifth))
    assert sixth_at < fourth_at < fifth_at, "the new order counted"
    assert all(job["progress"]["step"] == job["progress"]["total_steps"] > 0 for job in ended)
    for job_id in jobs:
        history = whole_history(system, job_id)
        assert history[-1].last == system.get(f"/jobs/{job_id}")["progress"]["total_steps"]
    assert system.get(f"/jobs/{running['two']}")["attempt"] > 1
    assert [job["id"] for job in ended if job["worker"] == "three"] == [running["three"]], "it got no more"
    by_machine = [job["id"] for job in ended if job["worker"] == JOINED]
    assert by_machine, "the machine that joined took its share"
    note(f"no gap and no double in six histories; {JOINED} did {len(by_machine)} of them")
    assert system.stop("one") == 0
    assert system.stop("three") == 0


def given_away_at(system: System, job_id: int) -> float:
    """When a worker was first chosen for a job."""
    return next(event["at"] for event in system.events(job_id, "state") if event["body"]["state"] == "starting")


def wait_for_machine(system: System, machine: subprocess.Popen[bytes]) -> str:
    """What it says of itself; another machine's processes give no event to wait for."""
    deadline = time.monotonic() + JOIN_LIMIT_S
    while True:
        for worker in system.get("/workers")["workers"]:
            if worker["name"] == JOINED and worker["state"] != "offline":
                return f"{worker['system']}, Python {worker['versions']['python']}"
        assert machine.poll() is None, "it ended before it was online"
        assert time.monotonic() < deadline, "it did not come online"
        time.sleep(0.2)
