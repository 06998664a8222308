"""Every check of the project, one after the other.

`python -m deploy.checks [--unit | --faults | --security | --browser-all] [arguments of pytest]...`

Each stage says what it is and how long it took; one that fails does not keep the others from running, and makes the
whole fail. pytest comes last, so that its closing line is the last one.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
WEB: Final = ROOT / "api" / "web"
_BIN: Final = Path(sys.executable).parent
_QUICK: Final = ("unit", "contracts")
_REAL: Final = ("integration", "browser")
"""Tests on real processes, which wait much: two files of them at a time."""
_ALONE: Final = ("faults",)
"""Tests whose processes have the machine to themselves."""
_PROOFS: Final = {
    "faults": [str(ROOT / "tests" / "faults"), "--faults"],
    "security": [str(ROOT / "tests"), "-m", "security", "--security"],
    "browser_all": [str(ROOT / "tests" / "browser"), "-m", "slow or not slow", "-rA"],
}
"""What takes from minutes to an hour, by its option."""
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One check; `run` returns whether it passed."""

    name: str
    run: Callable[[], bool]


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/test", description="Run the checks; other arguments go to pytest.")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--unit", action="store_true", help="run the unit tests alone")
    alone.add_argument("--faults", action="store_true", help="run the fault tests alone, as often as a proof needs")
    alone.add_argument(
        "--security", action="store_true", help="run what tries hostile input alone, as often as a proof needs"
    )
    alone.add_argument(
        "--browser-all", action="store_true", help="run all browser tests alone, and print what they measured"
    )
    options, pytest_arguments = parser.parse_known_args(arguments)
    proof = next((name for name in _PROOFS if getattr(options, name)), "")
    tests_alone = options.unit or proof
    failed = [] if tests_alone else [stage.name for stage in static_stages() if not run_stage(stage)]
    if not proof and not pytest_arguments:
        quick = side_by_side("unit tests", _QUICK, "-n", str(os.cpu_count() or 1))
        # Trainers of two tests that each take all cores would wait for each other at every step.
        one = {"SPECTRAIN_THREADS": "1"}
        real = side_by_side("tests on real processes", _REAL, "-n", "2", "--dist", "loadfile", environment=one)
        failed += [stage.name for stage in ([quick] if options.unit else [quick, real]) if not run_stage(stage)]
        if options.unit:
            return 1 if failed else 0
    if failed:
        say(f"Failed so far: {', '.join(failed)}")
    say("== pytest")
    command = pytest_command(pytest_arguments, unit=options.unit, proof=proof)
    passed = subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode == 0
    return 0 if passed and not failed else 1


def static_stages() -> list[Stage]:
    """Everything but pytest, quick ones first."""
    ruff, python = str(_BIN / "ruff"), sys.executable
    return [
        Stage(name="ruff check", run=lambda: call(ruff, "check")),
        Stage(name="ruff format", run=lambda: call(ruff, "format", "--check")),
        Stage(name="lint-imports", run=lambda: call(str(_BIN / "lint-imports"))),
        Stage(name="basedpyright", run=lambda: call(str(_BIN / "basedpyright"), "--pythonpath", python)),
        Stage(name="npm ci", run=install_node_modules),
        Stage(name="tsc", run=lambda: call(_npm(), "run", "--silent", "check", folder=WEB)),
        Stage(name="vitest", run=lambda: call(_npm(), "run", "--silent", "test", folder=WEB)),
        Stage(name="browser", run=install_browser),
        Stage(name="postgresql", run=install_postgresql),
    ]


def run_stage(stage: Stage) -> bool:
    """Run one stage between two lines that name it; returns whether it passed."""
    say(f"== {stage.name}")
    started = time.monotonic()
    passed = stage.run()
    say(f"== {stage.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - started:.1f} s")
    return passed


def side_by_side(name: str, folders: Sequence[str], *how: str, environment: Mapping[str, str] | None = None) -> Stage:
    """Tests that run side by side."""
    command = [sys.executable, "-m", "pytest", "-q", *how, *(str(ROOT / "tests" / folder) for folder in folders)]
    return Stage(name=name, run=lambda: call(*command, environment=environment))


def pytest_command(arguments: Sequence[str], *, unit: bool, proof: str) -> list[str]:
    """How pytest is called, one test after the other: those that need the machine, or what the arguments name."""
    command = [sys.executable, "-m", "pytest"]
    if proof:
        command += _PROOFS[proof]
    elif unit:
        command += [str(ROOT / "tests" / "unit")]
    elif not arguments:
        command += [str(ROOT / "tests" / name) for name in _ALONE]
    return [*command, *arguments]


def install_node_modules() -> bool:
    """Bring `node_modules` to what the lock file says; nothing to do where npm left its own copy of it."""
    lock, installed = WEB / "package-lock.json", WEB / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime > lock.stat().st_mtime:
        say("node_modules are up to date.")
        return True
    return call(_npm(), "ci", "--no-audit", "--no-fund", folder=WEB)


def install_browser() -> bool:
    """Find Chromium for the browser tests, install it as root on Debian; elsewhere its absence counts in CI alone."""
    if _browser():
        say(f"{_browser()} is there.")
        return True
    _apt_install("chromium")
    if _browser():
        return True
    say("No Chromium was found, so the browser tests cannot run. Debian: apt-get install chromium; elsewhere install")
    say("Chromium or Chrome, or name one with SPECTRAIN_CHROMIUM.")
    return not os.environ.get("CI")


def install_postgresql() -> bool:
    """Find PostgreSQL for the record's tests, install it as root on Debian; without it they run on SQLite alone."""
    if not _has_postgresql():
        _apt_install("postgresql")
    if _has_postgresql():
        say("PostgreSQL is there.")
    else:
        say("No PostgreSQL was found, so the record is tested on SQLite alone. Debian: apt-get install postgresql.")
    return True


def call(*command: str, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> bool:
    """Run a program to its end, its output on ours; False where it fails or is not there."""
    try:
        return (
            subprocess.run(command, cwd=folder, env=_environment() | {**(environment or {})}, check=False).returncode
            == 0
        )
    except FileNotFoundError as error:
        say(f"{error.filename} is missing: run ./deploy/test, which installs it.")
        return False


def say(text: str) -> None:
    """A line of ours, in order with what the stages write."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _environment() -> dict[str, str]:
    # npm starts `node`, and basedpyright too: the ones beside this Python.
    return {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"}


def _npm() -> str:
    return str(_BIN / "npm")


def _browser() -> str:
    named = os.environ.get("SPECTRAIN_CHROMIUM", "")
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    return next((found for name in (named, *_BROWSERS, mac) if name and (found := shutil.which(name))), "")


def _has_postgresql() -> bool:
    return shutil.which("initdb") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def _apt_install(package: str) -> None:
    """As root on Debian; elsewhere nothing."""
    if not _is_debian() or os.geteuid() != 0:
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("update -q", f"install -q -y --no-install-recommends {package}"):
        subprocess.run(["/usr/bin/apt-get", *command.split()], env=quiet, check=False)


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
