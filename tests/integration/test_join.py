"""Machines that join with a token: api, Redis with its users, `spectrain worker` with a data folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from api.workers.redis_users import user_name
from deploy.data_folder import DataFolder, ProcessEntry
from deploy.redis_server import RedisServer, configure
from tests.conftest import running_redis
from tests.sounds import write_sounds
from tests.system import LONG, ROOT, SMALL, System, first_step

LIMIT_S = 120.0


class Joined:
    """`spectrain worker --server … --token …` on what stands for another machine: a data folder of its own."""

    def __init__(self, data: Path, system: System, token: str, *options: str) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self._said = data / f"said-{time.monotonic_ns()}.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPECTRAIN_")}
        environment |= {"SPECTRAIN_DATA": str(data), "SPECTRAIN_TOKEN": token, "PYTHONFAULTHANDLER": "1"}
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "worker", "--server", system.url, *options],
                cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self._said.read_text()

    def workers(self) -> list[ProcessEntry]:
        """Its workers that are alive."""
        return DataFolder(self.data / "joined").read_processes()

    def logs(self) -> str:
        return self.said() + "".join(
            path.read_text()[-3000:] for path in sorted((self.data / "joined" / "logs").glob("*.log"))
        )

    def end(self, *, limit_s: float = LIMIT_S) -> int:
        return self.process.wait(limit_s)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.end()


Join = Callable[..., Joined]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_binary: Path, owner_password: str) -> Iterator[RedisServer]:
    """A server of its own, to be killed as a test likes."""
    with running_redis(tmp_path_factory.mktemp("redis"), redis_binary, owner_password) as server:
        yield server


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("join")
    data = folder / "data"
    keeper = server.url("keeper")
    with System(data, server.url("api"), redis_keeper_url=keeper, lease_s="10") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        yield system


@pytest.fixture
def join(system: System, tmp_path: Path) -> Iterator[Join]:
    """Have machines join; the end of the test proves that each leaves in good order."""
    joined: list[Joined] = []

    def start(token: str, *options: str, data: str = "machine") -> Joined:
        joined.append(Joined(tmp_path / data, system, token, "--device", "cpu", *options))
        return joined[-1]

    yield start
    for machine in joined:
        if machine.process.poll() is None:
            assert machine.stop() == 0, machine.logs()
    assert not any(machine.workers() for machine in joined)


def token(system: System) -> tuple[str, int]:
    made = system.post("/tokens", {"name": "studio"})
    return str(made["secret"]), int(made["id"])


def wait_until(met: Callable[[], bool], what: Callable[[], str]) -> None:
    """Processes that are not our children give no event to wait for."""
    deadline = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def is_online(system: System, name: str) -> bool:
    return any(worker["name"] == name and worker["state"] == "idle" for worker in system.get("/workers")["workers"])


def test_a_machine_joins_trains_and_leaves(system: System, join: Join) -> None:
    secret, _ = token(system)
    machine = join(secret, "--name", "studio")
    wait_until(lambda: is_online(system, "studio"), machine.logs)
    job_id = system.train("sounds", **{**SMALL, "epochs": 2})

    job = system.wait_job(job_id, "completed")

    assert job["worker"] == "studio"
    assert system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"]
    assert machine.stop() == 0, machine.logs()
    assert secret not in machine.logs()


def test_a_stopped_machine_saves_and_hands_back(system: System, join: Join) -> None:
    secret, _ = token(system)
    machine = join(secret, "--name", "attic")
    wait_until(lambda: is_online(system, "attic"), machine.logs)
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)

    assert machine.stop() == 0, machine.logs()

    job = system.wait_job(job_id, "queued")
    assert system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"]
    system.post(f"/jobs/{job_id}/cancel")
    assert job["progress"]["step"] > 0


def test_a_revoked_token_ends_its_machine_and_its_redis_user_at_once(
    system: System, join: Join, server: RedisServer, owner_password: str
) -> None:
    secret, token_id = token(system)
    machine = join(secret, "--name", "cellar")
    wait_until(lambda: is_online(system, "cellar"), machine.logs)
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    with Redis(port=server.access.port, username="owner", password=owner_password, decode_responses=True) as owner:
        connected = f"user={user_name('cellar')}"
        assert connected in str(owner.execute_command("CLIENT", "LIST"))

        system.post(f"/tokens/{token_id}/revoke")

        assert not is_online(system, "cellar")
        assert user_name("cellar") not in owner.acl_users()
        assert connected not in str(owner.execute_command("CLIENT", "LIST"))
    assert machine.end() == 2
    assert "was revoked" in machine.said()
    job = system.wait_job(job_id, "queued")
    assert job["reason"].startswith("The token of cellar was revoked, so the job goes on elsewhere."), job["reason"]
    system.post(f"/jobs/{job_id}/cancel")


def test_redis_and_api_may_be_killed_and_come_back(system: System, join: Join, server: RedisServer) -> None:
    """Redis forgets its users with that: the api makes them again, and the training never stops."""
    secret, _ = token(system)
    machine = join(secret, "--name", "garage")
    wait_until(lambda: is_online(system, "garage"), machine.logs)
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)

    system.kill("api")
    server.kill()
    server.start()
    system.start_api()

    reached = system.get(f"/jobs/{job_id}")["progress"]["step"]
    job = system.wait_job(job_id, lambda job: job["progress"]["step"] > reached)
    assert job["attempt"] == 1
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")


def test_a_name_at_work_is_refused_to_another_machine(system: System, join: Join) -> None:
    machine = join(token(system)[0], "--name", "kitchen")
    wait_until(lambda: is_online(system, "kitchen"), machine.logs)

    second = join(token(system)[0], "--name", "kitchen", data="other")

    assert second.end() == 4
    assert "A worker called kitchen is at work already" in second.said()
    assert is_online(system, "kitchen")


def test_a_machine_that_was_killed_leaves_nothing_behind_and_joins_again(system: System, join: Join) -> None:
    secret, _ = token(system)
    machine = join(secret, "--name", "garden")
    wait_until(lambda: is_online(system, "garden"), machine.logs)
    (before,) = machine.workers()
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    children = [ProcessEntry.of(role="", name="", pid=each.pid) for each in psutil.Process(before.pid).children()]
    assert any(child.alive() for child in children)

    machine.process.kill()
    machine.end()
    again = join(secret, "--name", "garden")

    wait_until(lambda: "Serving" in again.said(), again.logs)
    assert not any(entry.alive() for entry in (before, *children))
    (after,) = again.workers()
    assert after.pid != before.pid
    # What the old one was at when it was told to stop is saved, and goes on.
    system.wait_event(job_id, lambda event: event["attempt"] == 2 and event["body"]["type"] == "steps")
    assert system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"]
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    wait_until(lambda: is_online(system, "garden"), again.logs)


def test_a_redis_that_moved_to_another_port_is_found_again(system: System, join: Join, server: RedisServer) -> None:
    """As after a restart of the whole server while another program had taken the port."""
    secret, _ = token(system)
    machine = join(secret, "--name", "tower")
    wait_until(lambda: is_online(system, "tower"), machine.logs)

    system.kill("api")
    server.kill()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.access.port))
        other.listen()
        server.access = configure(server.data)
        server.start()
        system.settings(REDIS_URL=server.url("api"), SPECTRAIN_REDIS_KEEPER_URL=server.url("keeper"))
        system.start_api()

        wait_until(lambda: "Redis moved" in machine.said(), machine.logs)
        wait_until(lambda: is_online(system, "tower"), machine.logs)
