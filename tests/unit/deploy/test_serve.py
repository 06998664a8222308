"""`spectrain up`, `api` and `worker`: what they hand on, and what they warn of. Nothing is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import launcher
from deploy.cli import main, serve
from deploy.cli.exit_codes import ExitCode
from deploy.launcher import LaunchOptions, Ready
from deploy.redis_server import Role, configure
from tests.unit.deploy.conftest import CommandLine


class FakeLauncher:
    """Keeps its options and is ready at once."""

    options: list[LaunchOptions]

    def __init__(self, options: LaunchOptions, *, say: Callable[[str], None], ready: Callable[[Ready], None]) -> None:
        del say
        FakeLauncher.options.append(options)
        self._ready = ready

    def run(self) -> None:
        options = FakeLauncher.options[-1]
        self._ready(Ready(url="http://here", data=str(options.data), devices=["cpu"], logs="logs", pid=1))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[LaunchOptions]:
    FakeLauncher.options = []
    monkeypatch.setattr(launcher, "Launcher", FakeLauncher)
    for name in [name for name in os.environ if name.startswith("SPECTRAIN_") or name == "REDIS_URL"]:
        monkeypatch.delenv(name)
    return FakeLauncher.options


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a command went on as, instead of doing so."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: calls.append(command[1:]))
    # `os.environ` is changed before: each name is put back afterwards.
    for name in (
        *("SPECTRAIN_DATA", "SPECTRAIN_HOST", "SPECTRAIN_PORT", "SPECTRAIN_LABELS", "SPECTRAIN_REDIS_KEEPER_URL"),
        *("REDIS_URL", "PYTHONPATH", "PYTHONSAFEPATH"),
    ):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    return calls


def test_options_come_from_the_command_then_from_the_environment(
    launched: list[LaunchOptions], spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPECTRAIN_PORT", "8100")
    monkeypatch.setenv("SPECTRAIN_DATA", "/elsewhere")
    monkeypatch.setattr(serve, "check_present", lambda _: None)

    assert spectrain("up", "--data", str(tmp_path), "--device", "cpu", "--device", "cuda:1") == ExitCode.DONE

    assert launched == [LaunchOptions(data=tmp_path, host="127.0.0.1", port=8100, devices=("cpu", "cuda:1"))]
    assert "Spectrain is ready: http://here" in spectrain.out
    assert "export SPECTRAIN_SERVER=http://here" in spectrain.out


def test_a_device_that_is_not_there_is_refused_before_anything_starts(
    launched: list[LaunchOptions], spectrain: CommandLine
) -> None:
    assert spectrain("up", "--device", "cuda:77") != ExitCode.DONE
    assert launched == []
    assert "This machine has no cuda:77" in spectrain.err


def test_an_outside_redis_is_used_when_it_is_named(
    launched: list[LaunchOptions], spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectrain("up")
    monkeypatch.setenv("REDIS_URL", "rediss://example.org/0")
    spectrain("up")

    assert [options.redis_url for options in launched] == ["", "rediss://example.org/0"]


@pytest.mark.usefixtures("launched")
def test_programs_get_one_line_of_json(spectrain: CommandLine) -> None:
    spectrain("up", "--json")

    assert spectrain.json()["url"] == "http://here"


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("192.168.1.5", True), ("127.0.0.1", False)])
def test_a_wider_address_is_warned_of(spectrain: CommandLine, host: str, warned: bool) -> None:
    spectrain("up", "--host", host)

    assert ("in the clear" in spectrain.err) is warned


@pytest.mark.usefixtures("launched")
def test_a_missing_page_is_told(spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "page_built", lambda: False)

    spectrain("up")

    assert "The page is not built" in spectrain.err


@pytest.mark.usefixtures("launched")
def test_a_setting_of_the_environment_that_cannot_work_is_named(
    spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRAIN_PORT", "70000")

    assert spectrain("up") == ExitCode.WRONG_INPUT
    assert "SPECTRAIN_PORT" in spectrain.err


@pytest.mark.parametrize("role", ["api", "worker"])
def test_one_process_alone_finds_the_redis_of_the_data_folder(
    become: list[list[str]], spectrain: CommandLine, tmp_path: Path, role: Role
) -> None:
    access = configure(tmp_path)
    arguments = ["--device", "cpu", "--name", "w"] if role == "worker" else []

    assert spectrain(role, *arguments, "--data", str(tmp_path)) == ExitCode.DONE

    assert become == [["-m", role, *arguments]]
    assert os.environ["REDIS_URL"] == access.url(role)
    assert os.environ["SPECTRAIN_DATA"] == str(tmp_path)


def test_one_process_alone_without_any_redis_says_what_to_do(
    become: list[list[str]], spectrain: CommandLine, tmp_path: Path
) -> None:
    assert spectrain("worker", "--device", "cpu", "--data", str(tmp_path)) == ExitCode.FAILED
    assert "spectrain up" in spectrain.err
    assert become == []


def test_the_program_ends_with_the_exit_code_of_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["spectrain", "nothing"])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == ExitCode.WRONG_INPUT
