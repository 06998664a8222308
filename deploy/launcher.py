"""`spectrain up`: Redis protocol server, api and one worker per device, started, kept alive, stopped in order.

The launcher alone talks to the terminal. Each process writes its own log; errors are repeated here. A process that
ends is started again. Ctrl-C or SIGTERM stops workers (they save and hand back), then the api, then Redis; a second
one kills. A guardian does the same when the launcher itself is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import httpx

from deploy.addresses import address, check_port_free
from deploy.children import Child
from deploy.data_folder import DataFolder, FolderInUseError, FolderLock
from deploy.guardian import Guardian
from deploy.redis_server import (
    RedisAccess,
    Role,
    configure,
    find_binary,
    log_tail,
    redis_urls,
    server_command,
    wait_until_ready,
)
from deploy.stopping import stop_in_order
from shared.devices import discover_devices, parse_device
from shared.errors import ServiceError

_READY_LIMIT_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.1
_PREDECESSOR_LIMIT_S: Final = 90.0
"""Longer than a guardian needs to stop everything."""

Say = Callable[[str], None]


def module_command(name: str) -> list[str]:
    """How the package `name` is run as a process."""
    return [sys.executable, "-m", name]


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What `spectrain up` was told."""

    data: Path
    host: str
    port: int
    devices: tuple[str, ...] = ()
    """Devices that get a worker; none given means all that are found."""
    redis_url: str = ""
    """An outside Redis protocol server; empty to run our own."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What runs, once all of it does."""

    url: str
    data: str
    devices: list[str]
    logs: str
    pid: int


class Launcher:
    """Runs everything on one data folder. `say` takes sentences for the person, `ready` is called once.

    `command_of` tells how the api and the workers are started.
    """

    def __init__(
        self,
        options: LaunchOptions,
        *,
        say: Say,
        ready: Callable[[Ready], None],
        command_of: Callable[[str], list[str]] = module_command,
    ) -> None:
        self._options = options
        self._say = say
        self._ready = ready
        self._command_of = command_of
        self._folder = DataFolder(options.data)
        self._children: list[Child] = []
        self._stop_wishes = 0

    def run(self) -> None:
        """Return when a person, or the system, has stopped it. Raises SpectrainError where it cannot start."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        devices = device_names(self._options.devices)
        with self._take_lock() as lock:
            stop_in_order(self._folder.read_processes(), say=self._say)
            check_port_free(self._options.host, self._options.port)
            guardian = Guardian(self._folder, lock)
            try:
                self._start(devices)
                while not self._stop_wishes:
                    self._look_after()
                    time.sleep(_LOOK_EVERY_S)
                self._say("Stopping: workers save and hand back what they do. Ctrl-C again kills.")
            finally:
                self._stop()
                guardian.dismiss()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop_wishes += 1

    def _take_lock(self) -> FolderLock:
        deadline = time.monotonic() + _PREDECESSOR_LIMIT_S
        told = False
        while True:
            try:
                return FolderLock(self._folder)
            except FolderInUseError as error:
                if not error.stopping or self._stop_wishes or time.monotonic() > deadline:
                    raise
                if not told:
                    self._say("The Spectrain that ran here before was killed; waiting until its workers have saved.")
                    told = True
                time.sleep(_LOOK_EVERY_S)

    def _start(self, devices: Sequence[str]) -> None:
        urls = redis_urls(self._start_redis(), self._options.redis_url)
        api = self._add("api", "api", self._command_of("api"), self._environment(urls, "api"))
        for device in devices:
            command = [*self._command_of("worker"), "--device", device]
            self._add("worker", f"worker-{device.replace(':', '-')}", command, self._environment(urls, "worker"))
        self._wait_for_api(api)
        if not self._stop_wishes:
            self._ready(
                Ready(
                    url=address(self._options.host, self._options.port),
                    data=str(self._folder.path),
                    devices=list(devices),
                    logs=str(self._folder.logs),
                    pid=os.getpid(),
                )
            )

    def _start_redis(self) -> RedisAccess | None:
        if self._options.redis_url:
            return None
        binary = find_binary()
        access = configure(self._folder.path)
        child = self._add("redis", "redis", server_command(binary, self._folder.path), {})
        if child.process is not None:
            wait_until_ready(access, child.process, log=child.log.path)
        return access

    def _add(self, role: str, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        log = self._folder.logs / f"{name}.log"
        child = Child(role=role, name=name, command=command, environment=environment, log=log)
        child.start()
        self._children.append(child)
        self._write_down()
        return child

    def _environment(self, urls: Mapping[Role, str], role: Role) -> dict[str, str]:
        options = self._options
        return {
            "SPECTRAIN_DATA": str(self._folder.path),
            "SPECTRAIN_HOST": options.host,
            "SPECTRAIN_PORT": str(options.port),
            "SPECTRAIN_SERVER": address(options.host, options.port),
            "REDIS_URL": urls[role],
            "PYTHONUNBUFFERED": "1",
        }

    def _write_down(self) -> None:
        entries = (child.entry() for child in self._children)
        self._folder.write_processes([entry for entry in entries if entry is not None])

    def _wait_for_api(self, api: Child) -> None:
        url = f"{address(self._options.host, self._options.port)}/readyz"
        deadline = time.monotonic() + _READY_LIMIT_S
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while not self._stop_wishes:
                try:
                    if client.get(url).is_success:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                if not api.running or time.monotonic() > deadline:
                    what = api.end() if not api.running else f"is not ready after {_READY_LIMIT_S:.0f} s"
                    raise ServiceError(
                        f"The api {what}; the end of {api.log.path}:\n{log_tail(api.log.path)}\n"
                        "`spectrain doctor` looks for the usual causes."
                    )
                self._look_after(but=api)
                time.sleep(_LOOK_EVERY_S)

    def _look_after(self, *, but: Child | None = None) -> None:
        """Repeat errors of all logs, start again what ended."""
        revived = False
        for child in self._children:
            for error in child.log.errors():
                self._say(f"{child.name}: {error}")
            if child is not but:
                revived |= child.revive(self._say)
        if revived:
            self._write_down()

    def _stop(self) -> None:
        wishes = self._stop_wishes
        entries = [entry for child in self._children if (entry := child.entry()) is not None]
        stop_in_order(entries, say=self._say, hurry=lambda: self._stop_wishes > max(1, wishes))
        for child in self._children:
            if child.process is not None:
                child.process.wait()
        self._folder.write_processes([])


def device_names(wanted: Sequence[str]) -> list[str]:
    """Names of the devices that get a worker, each once; raises ConfigError for a name that is none."""
    if wanted:
        return list(dict.fromkeys(parse_device(name).name for name in wanted))
    return [device.name for device in discover_devices()]


def page_built() -> bool:
    """Whether the api has a page to serve."""
    return (Path(__file__).resolve().parent.parent / "api" / "web" / "dist" / "index.html").is_file()
