"""A network that loses every packet between api and Redis on one side and a worker on the other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.redis_server import RedisServer
from tests.conftest import missing
from tests.faults.counting import LAPSE_S, LEASE_S, Fault
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, first_step, trainers_of

CONSUMING_S = 60.0
WORKER = "far"


@dataclass(frozen=True, kw_only=True)
class Network:
    """Two namespaces with one cable in between; this process is in the first."""

    namespace: Path
    """File of the other namespace."""
    near: str
    """Name of this side's end of the cable."""
    address: str
    """What the other side reaches this one by."""

    def cut(self) -> None:
        """Lose every packet from now on; nobody on the other side is told."""
        run("ip", "link", "set", self.near, "down")
        assert self._state() == "down"

    def mend(self) -> None:
        run("ip", "link", "set", self.near, "up")
        deadline = time.monotonic() + 30.0
        while self._state() == "down":  # the system says so a moment later
            assert time.monotonic() < deadline, "the cable stays cut"
            time.sleep(0.01)

    def _state(self) -> str:
        return Path(f"/sys/class/net/{self.near}/operstate").read_text().strip()


@pytest.fixture
def network() -> Iterator[Network]:
    name = f"spectrain{os.getpid()}"
    near, far = f"sp{os.getpid()}n", f"sp{os.getpid()}f"
    subnet = f"10.213.{os.getpid() % 256}"
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"This system does not allow network namespaces, which need root and iproute2: {error}")
    try:
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        run("ip", "address", "add", f"{subnet}.1/30", "dev", near)
        run("ip", "link", "set", near, "up")
        run("ip", "-n", name, "address", "add", f"{subnet}.2/30", "dev", far)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "set", far, "up")
        yield Network(namespace=Path("/run/netns") / name, near=near, address=f"{subnet}.1")
    finally:
        run("ip", "netns", "delete", name)  # and with it both ends of the cable


@pytest.fixture
def server(tmp_path: Path, redis_binary: Path, network: Network) -> Iterator[RedisServer]:
    """Redis on this side, which the other side reaches through the cable."""
    server = RedisServer(tmp_path / "redis", log=tmp_path / "redis.log", binary=redis_binary, host=network.address)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def system(tmp_path: Path, server: RedisServer) -> Iterator[System]:
    """Api and dataset on this side."""
    with System(tmp_path / "data", server.url("api"), lease_s=f"{LEASE_S:g}") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        yield system


def test_row_06_a_network_that_loses_all_packets(
    *,
    system: System,
    server: RedisServer,
    network: Network,
    fault: Fault,
    count: Callable[[int, int], int],
    limit: Callable[[float], float],
) -> None:
    redis_url = server.url("worker").replace(server.access.host, network.address)
    system.start_worker(WORKER, module="tests.faults.in_namespace", NETNS=str(network.namespace), REDIS_URL=redis_url)
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    network.cut()
    mended_at = time.monotonic() + count(15, 120)
    system.wait_job(job_id, "queued", limit(LAPSE_S))
    assert "went silent" in system.get(f"/jobs/{job_id}")["reason"]
    assert trainers_of(system, WORKER), "the worker ended, so that it was not the network"
    fault.injected()
    time.sleep(max(0.0, mended_at - time.monotonic()))
    network.mend()
    started = time.monotonic()
    system.wait_event(
        job_id,
        lambda event: event["attempt"] > 1 and event["body"]["type"] == "attempt_started",
        limit(CONSUMING_S),
    )
    fault.held()
    fault.note(f"consuming after {time.monotonic() - started:.1f} s")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
