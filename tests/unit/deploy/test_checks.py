"""The runner of all checks: what it calls, and what its exit code says. The checks themselves are stand-ins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy import checks
from deploy.checks import Stage, main, static_stages


class FakePytest:
    """Takes the place of subprocess.run: keeps the commands and answers with an exit code."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, self.code)


@pytest.fixture
def fake_pytest(monkeypatch: pytest.MonkeyPatch) -> FakePytest:
    fake = FakePytest()
    monkeypatch.setattr(checks.subprocess, "run", fake)
    return fake


def use_stages(monkeypatch: pytest.MonkeyPatch, **results: bool) -> None:
    stages = [Stage(name=name, run=lambda passed=passed: passed) for name, passed in results.items()]
    monkeypatch.setattr(checks, "static_stages", lambda: stages)


def test_each_stage_says_how_long_it_took_and_pytest_comes_last(
    fake_pytest: FakePytest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_stages(monkeypatch, first=True, second=True)

    assert main([]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "== first"
    assert lines[1].startswith("== first: passed in ")
    assert lines[-1] == "== pytest"
    units, real, alone = fake_pytest.commands
    assert "-n" in units
    assert [Path(folder).name for folder in units[-2:]] == ["unit", "contracts"]
    assert "loadfile" in real, "what a file's tests share is made once"
    assert [Path(folder).name for folder in real[-2:]] == ["integration", "browser"]
    assert [Path(folder).name for folder in alone[3:]] == ["faults"]


def test_every_folder_of_tests_is_run() -> None:
    with_tests = {path.parent.name for path in (checks.ROOT / "tests").glob("*/test_*.py")} | {"unit"}
    assert {*checks._QUICK, *checks._REAL, *checks._ALONE} == with_tests


def test_arguments_go_to_pytest_alone(fake_pytest: FakePytest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_stages(monkeypatch, first=True)
    assert main(["tests/unit/test_config.py", "-k", "lock"]) == 0
    assert fake_pytest.commands == [[sys.executable, "-m", "pytest", "tests/unit/test_config.py", "-k", "lock"]]


def test_a_stage_that_fails_fails_the_whole_but_not_the_others(
    fake_pytest: FakePytest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_stages(monkeypatch, first=False, second=True)

    assert main([]) == 1

    out = capsys.readouterr().out
    assert "== second: passed" in out
    assert "Failed so far: first\n== pytest" in out
    assert len(fake_pytest.commands) == 3


def test_failing_tests_fail_the_whole(fake_pytest: FakePytest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_stages(monkeypatch, first=True)
    fake_pytest.code = 1

    assert main([]) == 1


def test_unit_runs_nothing_but_unit_tests(fake_pytest: FakePytest) -> None:
    assert main(["--unit", "-k", "lock"]) == 0

    assert fake_pytest.commands == [[sys.executable, "-m", "pytest", str(checks.ROOT / "tests" / "unit"), "-k", "lock"]]


def test_faults_runs_nothing_but_the_fault_tests_in_full(fake_pytest: FakePytest) -> None:
    assert main(["--faults"]) == 0

    assert fake_pytest.commands == [[sys.executable, "-m", "pytest", str(checks.ROOT / "tests" / "faults"), "--faults"]]


def test_security_runs_nothing_but_hostile_input_in_full(fake_pytest: FakePytest) -> None:
    assert main(["--security"]) == 0

    folder = str(checks.ROOT / "tests")
    assert fake_pytest.commands == [[sys.executable, "-m", "pytest", folder, "-m", "security", "--security"]]


def test_a_tool_that_is_missing_fails_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert not checks.call("/nowhere/tool")
    assert "./deploy/test" in capsys.readouterr().out


@pytest.mark.parametrize(("in_ci", "passed"), [("true", False), ("", True)])
def test_a_missing_browser_counts_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, in_ci: str, passed: bool
) -> None:
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setattr(checks, "_browser", lambda: "")
    monkeypatch.setattr(checks, "_is_debian", lambda: False)

    assert checks.install_browser() is passed


def test_every_kind_of_check_is_there() -> None:
    names = {stage.name for stage in static_stages()}

    assert names == {
        *("ruff check", "ruff format", "lint-imports", "basedpyright"),
        *("npm ci", "tsc", "vitest", "browser", "postgresql"),
    }
