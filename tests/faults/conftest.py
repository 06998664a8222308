"""What every fault test gets: how often to inject, how long to wait, a place to count, and a real system."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from redis import Redis

from deploy.redis_server import RedisServer
from shared.event_bus import WORKER_KEY
from shared.jobs import ENDED
from tests.conftest import running_redis
from tests.faults.counting import LEASE_S, Fault
from tests.sounds import write_sounds
from tests.system import System

CONFLICT = 409
"""HTTP status of what the state of a job does not allow."""
_PATIENCE = 4.0
"""Limits of time are so many times as long where few faults are injected: that machine may be busy."""

Number = TypeVar("Number", int, float)
_FAULTS: pytest.StashKey[list[Fault]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FAULTS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The quick subset leaves out what it has another one like."""
    if config.getoption("--faults"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None]:
    """Time the test, and fail it where it passed without a fault."""
    fault = item.funcargs.get("fault")
    started = time.monotonic()
    try:
        yield
    finally:
        if isinstance(fault, Fault):
            fault.seconds = time.monotonic() - started
    if isinstance(fault, Fault):
        fault.check()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    faults = sorted(config.stash[_FAULTS], key=lambda fault: fault.row)
    if not faults:
        return
    width = max(len(fault.what) for fault in faults)
    terminalreporter.section("faults")
    terminalreporter.line(f"{'row':>3}  {'what':<{width}}  {'injected':>8}  {'held':>5}  {'seconds':>7}  measured")
    for fault in faults:
        terminalreporter.line(
            f"{fault.row:>3}  {fault.what:<{width}}  {fault.injected_count:>8}  {fault.held_count:>5}"
            f"  {fault.seconds:>7.1f}  {'; '.join(fault.measured)}"
        )


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """The line of the table that this test fills; `test_row_03_a_killed_worker_…` is row 3, "a killed worker …"."""
    assert isinstance(request.node, pytest.Function)
    match = re.fullmatch(r"test_row_(\d+)_(\w+)", request.node.originalname)
    assert match, f"{request.node.name} names no row of the table"
    fault = Fault(row=int(match[1]), what=match[2].replace("_", " "))
    request.config.stash[_FAULTS].append(fault)
    return fault


@pytest.fixture(scope="session")
def all_faults(pytestconfig: pytest.Config) -> bool:
    """Whether the full counts were asked for."""
    return bool(pytestconfig.getoption("--faults"))


@pytest.fixture(scope="session")
def count(all_faults: bool) -> Callable[[Number, Number], Number]:
    """`count(quick, full)`: how often to inject; or another figure that the full counts have otherwise."""
    return lambda quick, full: full if all_faults else quick


@pytest.fixture(scope="session")
def limit(all_faults: bool) -> Callable[[float], float]:
    """`limit(seconds)`: that long, where the full counts were asked for; else longer, for a machine that is busy."""
    return lambda seconds: seconds if all_faults else seconds * _PATIENCE


@pytest.fixture(scope="module")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, redis_binary: Path, owner_password: str
) -> Iterator[RedisServer]:
    """A server of the module's own, to be killed, stopped and starved."""
    with running_redis(tmp_path_factory.mktemp("redis"), redis_binary, owner_password) as server:
        yield server


@pytest.fixture(scope="module")
def module_system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """Api and dataset `sounds`, for all tests of a module."""
    folder = tmp_path_factory.mktemp("faults")
    with System(folder / "data", redis_url, lease_s=f"{LEASE_S:g}") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        yield system


@pytest.fixture
def system(module_system: System, owner: Redis) -> Iterator[System]:
    """The module's system without workers; what a test leaves at work is ended."""
    yield module_system
    for job in module_system.get("/jobs")["jobs"]:
        if job["state"] not in ENDED:
            # It may end in this moment: then there is nothing left to cancel.
            answer = module_system.http.post(f"/jobs/{job['id']}/cancel")
            assert answer.is_success or answer.status_code == CONFLICT, answer.text
    for name in module_system.workers():
        module_system.kill(name)
    # The heartbeat of one that was killed would be believed for some seconds more, in the next test.
    for key in owner.scan_iter(match=f"{WORKER_KEY}*"):
        owner.delete(key)
    module_system.wait_nobody_online()
