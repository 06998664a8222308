"""The same thing twice: a second `up` on one data folder, a second worker on one device."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.data_folder import DataFolder
from tests.faults.counting import Fault
from tests.system import ROOT, System, free_port

READY_S = 120.0
REFUSED = 1


@pytest.fixture
def first_up(tmp_path: Path, redis_binary: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """A real `spectrain up` on a folder of its own: process, folder, address. It is stopped at the end."""
    del redis_binary
    data, port = tmp_path / "data", free_port()
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(up(data, port), cwd=ROOT, env=environment(), stdout=log, stderr=log)
    try:
        wait_ready(f"http://127.0.0.1:{port}", process, tmp_path / "up.log")
        yield process, data, f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(60.0) == 0, (tmp_path / "up.log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_row_24_a_second_up_on_the_data_folder(
    first_up: tuple[subprocess.Popen[bytes], Path, str], fault: Fault
) -> None:
    process, data, url = first_up
    before = [entry.pid for entry in DataFolder(data).read_processes()]
    second = subprocess.run(
        up(data, free_port()), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60.0, check=False
    )
    fault.injected()
    assert second.returncode != 0
    said = " ".join(second.stderr.split())
    assert f"already running on {data} (process {process.pid})" in said, second.stderr
    assert "--data" in said
    assert "Traceback" not in second.stderr
    assert [entry.pid for entry in DataFolder(data).read_processes()] == before, "the first one lost a process"
    assert httpx.get(f"{url}/readyz").is_success
    fault.held()


def test_row_24_two_workers_for_one_device(system: System, fault: Fault) -> None:
    """On this machine's processor by its name; for a device that only one may have, the first worker's lock is held."""
    system.start_worker("w1")
    twin = start_twin(system, "--device", "cpu", "--name", "w1")
    fault.injected()
    assert twin.returncode == REFUSED
    assert f"Another worker (process {system.pid('w1')}) already serves w1" in twin.stderr
    assert system.stop("w1") == 0, "the first worker was harmed"
    fault.held()

    with (system.data / "locks" / "cuda_0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        twin = start_twin(system, "--device", "cuda:0", "--name", "another")
        fault.injected()
    assert twin.returncode == REFUSED
    assert f"Another worker (process {os.getpid()}) already serves cuda:0" in twin.stderr
    fault.held()


def start_twin(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env={**os.environ, "SPECTRAIN_DATA": str(system.data)},
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )


def up(data: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", "up", "--data", str(data), "--port", str(port), "--device", "cpu"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "REDIS_URL"}


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5.0).is_success:
                return
        except httpx.TransportError:
            pass  # nothing tells when a port opens
        time.sleep(0.1)
    raise AssertionError(log.read_text())
