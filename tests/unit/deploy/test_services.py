"""Service files for systemd and launchd: what starts is ours, stops in time, and may do little to its machine."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.stopping import longest_stop_s
from tests.unit.deploy.starting import SETTINGS, assert_it_starts

DEPLOY = Path(__file__).parents[3] / "deploy"
SYSTEMD = DEPLOY / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
LAUNCHD = DEPLOY / "launchd" / "org.spectrain.up.plist"
INSTALLED = "/opt/spectrain/.venv/bin/spectrain"

EXPOSURE = {"spectrain-api.service": 2.1}
"""Largest exposure of a unit, as systemd judges it, from 0 to 10."""
EXPOSURE_WITH_DEVICES = 2.5
"""The same for those that start trainers: they need devices, and memory that is written and run."""


def fields(path: Path, section: str = "Service") -> dict[str, list[str]]:
    """The assignments in a section of a unit."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif "=" in line and not line.startswith("#") and current == section:
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, with a program that is there."""
    program = Path(sys.executable).with_name("spectrain")
    if not program.exists():
        program = Path(sys.executable)
    for unit in UNITS:
        text = unit.read_text().replace(INSTALLED, str(program)).replace("User=spectrain", "User=root")
        (tmp_path / unit.name.replace("@", "@cuda-0")).write_text(text.replace("Group=spectrain", "Group=root"))
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed.")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_there_is_a_unit_for_each_way_to_run() -> None:
    assert [unit.name for unit in UNITS] == [
        "spectrain-api.service",
        "spectrain-joined.service",
        "spectrain-up.service",
        "spectrain-worker@.service",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, units: Path) -> None:
    done = analyze("verify", "--man=no", str(units / unit.name.replace("@", "@cuda-0")))
    ours = [line for line in done.stderr.splitlines() if str(units) in line or "spectrain" in line]
    assert not ours, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_do_little(unit: Path, units: Path) -> None:
    limit = EXPOSURE.get(unit.name, EXPOSURE_WITH_DEVICES)
    # It runs as a user of its own where it is installed; root stands here for one that this machine has.
    file = units / unit.name.replace("@", "@cuda-0")
    file.write_text(file.read_text().replace("User=root", "User=nobody").replace("Group=root", "Group=nogroup"))
    done = analyze("security", "--offline=true", f"--threshold={int(limit * 10)}", "--no-pager", str(file))
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_and_stops_as_it_should(unit: Path) -> None:
    service = fields(unit)
    [start] = service["ExecStart"]
    program, *arguments = shlex.split(start.replace("%i", "cuda-0"))
    assert program == INSTALLED
    assert_it_starts(arguments)
    [stop_s] = service["TimeoutStopSec"]
    if unit.name == "spectrain-api.service":
        assert int(stop_s) >= 30
    else:
        assert int(stop_s) > longest_stop_s()
        assert service["OOMPolicy"] == ["continue"]
    assert service["KillMode"] == ["mixed"]
    variables = {each.split("=")[0] for line in service["Environment"] for each in line.split()}
    assert variables <= SETTINGS | {"PYTHONUNBUFFERED"}


def test_units_differ_only_in_what_they_run() -> None:
    hardening = []
    for unit in UNITS:
        text = unit.read_text()
        block = text[text.index("# What it may do") : text.index("SystemCallErrorNumber=EPERM")]
        hardening.append(block)
    assert len(set(hardening)) == 1


def test_the_example_names_settings_that_exist() -> None:
    text = (SYSTEMD / "spectrain.env").read_text()
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", text, re.MULTILINE))
    assert {"REDIS_URL", "SPECTRAIN_TOKEN"} <= named
    assert named <= SETTINGS


def test_the_services_have_a_user() -> None:
    users = {fields(unit)["User"][0] for unit in UNITS}
    declared = {line.split()[1] for line in (SYSTEMD / "sysusers.conf").read_text().splitlines() if line[:2] == "u "}
    assert users == declared


def test_the_agent_for_a_mac() -> None:
    agent = plistlib.loads(LAUNCHD.read_bytes())
    assert agent["Label"] == LAUNCHD.stem
    assert agent["ProgramArguments"][:2] == ["/bin/sh", "-c"]
    command, program, *rest = shlex.split(agent["ProgramArguments"][2])
    assert (command, program) == ("exec", INSTALLED), "signals reach it, not the shell"
    assert_it_starts([word for word in rest if ">" not in word])
    assert agent["ExitTimeOut"] > longest_stop_s()
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["RunAtLoad"] is True


def test_the_agent_for_a_mac_writes_its_log_where_nobody_else_does(tmp_path: Path) -> None:
    agent = plistlib.loads(LAUNCHD.read_bytes())
    assert not {"StandardOutPath", "StandardErrorPath"} & agent.keys(), "launchd knows no home"
    program = tmp_path / "spectrain"
    program.write_text('#!/bin/sh\necho "$1"\necho trouble >&2\n')
    program.chmod(0o755)
    home = tmp_path / "a home"
    logs = home / "Library" / "Logs"
    logs.mkdir(parents=True)
    arguments = [word.replace(INSTALLED, shlex.quote(str(program))) for word in agent["ProgramArguments"]]
    subprocess.run(arguments, env={"HOME": str(home)}, check=True)
    assert (logs / "spectrain-up.log").read_text() == "up\ntrouble\n"
