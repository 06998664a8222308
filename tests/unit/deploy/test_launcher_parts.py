"""Parts of the launcher: addresses, devices, what a log tells, a full disk under its files, how long it waits."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import stopping
from deploy.addresses import address, check_port_free
from deploy.children import Crew
from deploy.cli import serve
from deploy.data_folder import DataFolder, ProcessEntry
from deploy.launcher import device_names
from deploy.log_follower import LogFollower, error_in
from shared.addresses import is_loopback
from shared.errors import ConfigError, InUseError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("studio.local", "http://studio.local:8000"),
    ],
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert address(host, 8000) == url


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.2", False)]
)
def test_loopback_is_this_machine_alone(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_a_taken_port_is_named_with_a_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(InUseError, match=f"Port {port}.*--port"):
            check_port_free("127.0.0.1", port)


def test_an_address_of_nobody_is_refused() -> None:
    with pytest.raises((ConfigError, InUseError), match=r"address|--port"):
        check_port_free("192.0.2.1", 8000)


def test_devices_that_are_named_are_taken_once_each() -> None:
    assert device_names(["cpu", "cuda"]) == ["cpu", "cuda:0"]
    with pytest.raises(ConfigError, match="cuda:0 is named twice"):
        device_names(["cpu", "cuda", "cuda:0"])


def test_a_name_that_is_no_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="gpu"):
        device_names(["gpu"])


def test_without_a_name_every_device_gets_a_worker() -> None:
    assert device_names([])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"level": "info", "event": "api.started"}', ""),
        ('{"level": "error", "event": "store.failed", "error": "no space"}', "store.failed: no space"),
        ('{"level": "critical", "event": "x", "exception": "Traceback\\n  a\\nKeyError: 1"}', "x: KeyError: 1"),
        ("{broken", ""),
        ("redis.exceptions.ConnectionError: refused", "redis.exceptions.ConnectionError: refused"),
        ("ERROR:celery: lost", "ERROR:celery: lost"),
        (
            "2026-11-21T20:00:00.123456Z [error    ] attempt.ended    job=7 error='full'",
            "attempt.ended job=7 error='full'",
        ),
        ("2026-11-21T20:00:00.123456Z [warning  ] trainer.output   text='ERROR: odd'", ""),
        ("* Ready to accept connections tcp", ""),
    ],
)
def test_a_log_line_tells_of_an_error_or_of_nothing(line: str, told: str) -> None:
    assert error_in(line) == told


def test_only_new_whole_lines_are_followed(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("ERROR old\n")
    follower = LogFollower(log)

    with log.open("a") as file:
        file.write("ERROR new\nfine\nERROR half")
    first = list(follower.errors())
    with log.open("a") as file:
        file.write(" and half\n")

    assert first == ["ERROR new"]
    assert list(follower.errors()) == ["ERROR half and half"]


def test_a_log_that_grew_too_large_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.log_follower._LARGEST_BYTES", 10)
    log = tmp_path / "worker.log"
    follower = LogFollower(log)
    record = json.dumps({"level": "error", "event": "kept"})

    with log.open("a") as file:
        file.write(f"{record}\n")
        file.flush()
        assert list(follower.errors()) == ["kept"]
        file.write("ERROR after\n")

    assert log.with_suffix(".log.1").read_text() == f"{record}\n"
    assert list(follower.errors()) == ["ERROR after"]


FULL = Path("/dev/full")
"""Whoever writes here finds no space, as on a disk that is full."""
on_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="This system has no /dev/full.")


@on_a_full_disk
def test_a_log_that_finds_no_space_aside_goes_on_and_is_put_there_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.log_follower._LARGEST_BYTES", 10)
    monkeypatch.setattr("deploy.log_follower._AGAIN_BYTES", 10)
    log = tmp_path / "worker.log"
    aside = log.with_suffix(".log.1")
    follower = LogFollower(log)
    aside.symlink_to(FULL)

    log.write_text("ERROR one\nfine\n")
    with pytest.raises(OSError, match="No space left"):
        list(follower.errors())
    assert not aside.is_symlink()
    assert list(follower.errors()) == []
    assert not aside.exists()
    with log.open("a") as file:
        file.write("ERROR two\nfine\n")

    assert list(follower.errors()) == ["ERROR two"]
    assert aside.read_text() == "ERROR one\nfine\nERROR two\nfine\n"
    assert log.read_text() == ""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def crew(tmp_path: Path, said: list[str]) -> Iterator[Crew]:
    crew = Crew(DataFolder(tmp_path), said.append)
    yield crew
    crew.stop(hurry=lambda: True)


@on_a_full_disk
def test_a_full_disk_keeps_nobody_from_being_looked_after(
    crew: Crew, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.log_follower._LARGEST_BYTES", 10)
    folder = DataFolder(tmp_path)
    (tmp_path / "processes.tmp").symlink_to(FULL)
    (tmp_path / "logs" / "worker.log.1").symlink_to(FULL)

    program = "import time; print('more than ten bytes', flush=True); time.sleep(600)"
    worker = crew.add("worker", "worker", [sys.executable, "-c", program], {})
    assert worker.process is not None
    first = worker.process
    deadline = time.monotonic() + 30.0
    while len(said) < 2:
        crew.look_after()
        assert time.monotonic() < deadline, said
    first.kill()
    first.wait()
    while worker.process is first:
        crew.look_after()
        assert time.monotonic() < deadline, said

    assert folder.read_processes() == []
    full = "failed (No space left on device). All else goes on, and it is tried again."
    assert said[:2] == [f"Keeping the list of processes {full}", f"Reading the log of worker {full}"]
    assert "starting it again" in said[2]
    assert len(said) == 3
    (tmp_path / "processes.tmp").unlink()
    crew.look_after()
    assert [entry.pid for entry in folder.read_processes()] == [worker.process.pid]


@on_a_full_disk
def test_nobody_ends_because_what_it_says_finds_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(FULL.open("wb", buffering=0), write_through=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        with pytest.raises(OSError, match="No space left"):
            full.write("text")
        serve.say("text")


SAVING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(3.0), sys.exit(0)))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_worker_whose_checkpoint_still_travels_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than two grace times."""
    monkeypatch.setattr(stopping, "STOP_LIMIT_S", 0.1)
    monkeypatch.setenv("SPECTRAIN_GRACE_S", "1")
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", SAVING], stdout=subprocess.PIPE, start_new_session=True) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        entry = ProcessEntry.of(role="worker", name="worker", pid=worker.pid)

        stopping.stop_in_order([entry], say=said.append)

        assert worker.wait(10.0) == 0
    assert said == []
    assert stopping.longest_stop_s() > 20.0
