"""The line that a person pastes, on another machine: own network, own home, nothing but Python.

The server is the one that lives in a network namespace, so that the machine that joins has whatever pip needs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.sounds import write_sounds
from tests.system import ROOT, SMALL

pytestmark = pytest.mark.slow

SERVER, MACHINE = "10.213.77.1", "10.213.77.2"
PORT = 8000
FIRST_START_S = 900.0
LATER_START_S = 60.0


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with the address SERVER, which this one reaches as MACHINE."""
    if os.geteuid() or shutil.which("ip") is None:
        missing("Network namespaces need root and iproute2 (Debian: apt-get install iproute2).")
    name, ours, theirs = (f"sp{os.getpid()}{end}" for end in ("n", "a", "b"))
    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", f"{MACHINE}/24", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", f"{SERVER}/24", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def server(namespace: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """`spectrain up --host SERVER`, and how its first person reaches it."""
    said = tmp_path / "server.txt"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "deploy.cli", "up", "--json", "--device", "cpu",
             "--host", SERVER, "--port", str(PORT), "--data", str(tmp_path / "server")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["url"] == f"http://{SERVER}:{PORT}", said.read_text()
        assert "speaks no TLS" in said.read_text()
        headers = {"Authorization": f"Bearer {ready['token']}"}
        address = f"http://{SERVER}:{PORT}/api/v1"
        with httpx.Client(base_url=address, headers=headers, timeout=60.0, trust_env=False) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def paste(line: str, home: Path, said: Path) -> subprocess.Popen[bytes]:
    """What a shell on the other machine does with the line; its Python knows no packages."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPECTRAIN_", "PYTHON", "XDG_"))}
    with said.open("wb") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line.replace('python3', str(python), 1)} --name attic --device cpu"],
            cwd=home, env={**kept, "HOME": str(home)}, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def seen(server: httpx.Client) -> list[dict[str, Any]]:
    """All workers, offline ones too."""
    return server.get("/workers").json()["workers"]


def seconds_until_online(server: httpx.Client, machine: subprocess.Popen[bytes], said: Path, limit_s: float) -> float:
    started = time.monotonic()
    while not any(each["name"] == "attic" and each["state"] == "idle" for each in seen(server)):
        assert machine.poll() is None, said.read_text()[-4000:]
        assert time.monotonic() - started < limit_s, said.read_text()[-4000:]
        time.sleep(0.2)  # another machine's processes give no event to wait for
    return time.monotonic() - started


def test_one_pasted_line_makes_another_machine_a_worker(server: httpx.Client, tmp_path: Path) -> None:
    line = server.post("/tokens", json={}).json()["command"]
    home, said = tmp_path / "home", tmp_path / "machine.txt"
    home.mkdir()

    machine = paste(line, home, said)
    first_s = seconds_until_online(server, machine, said, FIRST_START_S)
    both_train(server, tmp_path)
    machine.send_signal(signal.SIGINT)
    assert machine.wait(60) == 0, said.read_text()[-4000:]

    machine = paste(line, home, said)
    later_s = seconds_until_online(server, machine, said, LATER_START_S)
    assert "Installing" not in said.read_text()
    machine.send_signal(signal.SIGTERM)
    assert machine.wait(60) == 0, said.read_text()[-4000:]
    print(f"online {first_s:.1f} s after the first paste, {later_s:.1f} s after the second")  # noqa: T201


def both_train(server: httpx.Client, folder: Path) -> None:
    """Two trainings at once: the server's own worker takes one, the other machine the other."""
    server.post("/datasets", json={"name": "sounds"}).raise_for_status()
    files = [("files", (path.name, path.read_bytes())) for path in write_sounds(folder / "sounds", 8)]
    server.post("/datasets/sounds/files", files=files).raise_for_status()
    request = {"kind": "train", "dataset": "sounds", "representation": "mel", "changes": {**SMALL, "epochs": 2}}
    jobs = [server.post("/jobs", json=request).json()["id"] for _ in range(2)]
    deadline = time.monotonic() + 300
    while True:
        seen = [server.get(f"/jobs/{job}").json() for job in jobs]
        if all(job["state"] == "completed" for job in seen):
            break
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)
    assert "attic" in {job["worker"] for job in seen}
