"""Parts of the launcher that need no processes: addresses, devices, what a log tells."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deploy.addresses import address, check_port_free, is_loopback
from deploy.launcher import device_names
from deploy.log_follower import LogFollower, error_in
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
    assert device_names(["cpu", "cuda", "cuda:0", "cpu"]) == ["cpu", "cuda:0"]


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
