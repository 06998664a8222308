"""`spectrain up` with the real Redis protocol server and stand-ins for api and workers: starts, deaths, ends."""

from __future__ import annotations

import json
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

from deploy.data_folder import DataFolder, ProcessEntry
from tests.system import free_port

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 60.0


class Launched:
    """A launcher in a process of its own."""

    def __init__(self, data: Path, port: int, *devices: str) -> None:
        self.data = data
        self._errors = data.parent / f"errors-{time.monotonic_ns()}.txt"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.launched", str(data), str(port), *devices],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors()

    def story(self) -> list[str]:
        path = self.data / "story.txt"
        return path.read_text().splitlines() if path.exists() else []

    def errors(self) -> str:
        return self._errors.read_text()

    def pids(self, role: str) -> list[int]:
        return [entry.pid for entry in DataFolder(self.data).read_processes() if entry.role == role]

    def all(self) -> list[ProcessEntry]:
        return DataFolder(self.data).read_processes()

    def end(self) -> int:
        self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode


def wait_until(met: Callable[[], bool], what: str) -> None:
    """Processes that are not our children give no event to wait for."""
    deadline = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def none_alive(processes: list[ProcessEntry]) -> bool:
    """Whether all are gone; one that nobody has waited for yet counts as gone."""
    return not any(process.alive() for process in processes)


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path, redis_binary: Path) -> Iterator[Launch]:
    """Start launchers on one data folder; each fixture's end proves that nothing is left of them."""
    del redis_binary
    port = free_port()
    started: list[Launched] = []

    def start(*devices: str, on_port: int = port) -> Launched:
        started.append(Launched(tmp_path / "data", on_port, *(devices or ("cpu",))))
        return started[-1]

    yield start
    for launched in started:
        if launched.process.poll() is None:
            launched.process.kill()
        launched.end()
    folder = DataFolder(tmp_path / "data")
    wait_until(lambda: not folder.read_processes(), "everything is gone")


def test_everything_starts_with_its_own_user_and_stops_in_order(launch: Launch) -> None:
    launched = launch("cpu", "cuda:1")
    launched.wait_ready()
    wait_until(lambda: launched.errors().count("worker.example: as worker") == 2, "errors of logs are repeated")
    processes = launched.all()

    launched.process.send_signal(signal.SIGINT)

    assert launched.end() == 0
    assert launched.story()[-1] == "api stopped"
    assert set(launched.story()[-3:-1]) == {"worker stopped cpu", "worker stopped cuda:1"}
    assert "ready to exit" in (launched.data / "logs" / "redis.log").read_text()
    assert len(processes) == 4
    assert none_alive(processes)


def test_a_second_start_on_the_folder_is_refused_naming_the_first(launch: Launch) -> None:
    first = launch()
    first.wait_ready()

    second = launch(on_port=free_port())

    assert second.end() != 0
    assert f"process {first.process.pid}" in second.errors()
    assert first.process.poll() is None


def test_a_taken_port_is_refused_before_anything_starts(launch: Launch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        launched = launch(on_port=other.getsockname()[1])

        assert launched.end() != 0

    assert "--port" in launched.errors()
    assert not (launched.data / "logs" / "redis.log").exists()


@pytest.mark.parametrize("role", ["redis", "api", "worker"])
def test_what_dies_is_started_again(launch: Launch, role: str) -> None:
    launched = launch()
    launched.wait_ready()
    (killed,) = launched.pids(role)

    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: launched.pids(role) not in ([], [killed]), f"{role} runs again")
    assert "was ended by SIGKILL; starting it again" in launched.errors()


def test_a_launcher_that_is_killed_leaves_nothing_behind_and_a_new_one_waits_for_that(launch: Launch) -> None:
    first = launch()
    first.wait_ready()
    wait_until(lambda: any(line.startswith("worker started") for line in first.story()), "the worker runs")
    processes = first.all()

    first.process.kill()
    first.end()
    second = launch()
    second.wait_ready()

    assert none_alive(processes)
    assert "worker stopped cpu" in second.story()
    assert "api stopped" in second.story()


def test_a_second_interrupt_kills_what_does_not_stop(launch: Launch) -> None:
    launched = launch("mps")
    launched.wait_ready()
    wait_until(lambda: any(line.startswith("worker started") for line in launched.story()), "the worker runs")
    processes = launched.all()

    launched.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Stopping" in launched.errors(), "it stops")
    launched.process.send_signal(signal.SIGINT)

    assert launched.end() == 0
    assert "Killing worker-mps." in launched.errors()
    assert none_alive(processes)


def test_what_runs_is_written_down(launch: Launch) -> None:
    launched = launch()
    launched.wait_ready()

    kept = json.loads((launched.data / "processes.json").read_text())

    assert [entry["role"] for entry in kept] == ["redis", "api", "worker"]
    assert all(psutil.pid_exists(entry["pid"]) for entry in kept)
