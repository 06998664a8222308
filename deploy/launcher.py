"""`spectrain up`: Redis protocol server, api and one worker per device, started, kept alive, stopped in order.

The launcher alone talks to the terminal. Each process writes its own log; errors are repeated here. A process that
ends is started again. Ctrl-C or SIGTERM stops workers (they save and hand back), then the api, then Redis; a second
one kills. A guardian does the same when the launcher itself is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from deploy.addresses import address, check_port_free
from deploy.children import Child, Crew, Say, StopWishes, take_over
from deploy.data_folder import DataFolder
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
from shared.devices import discover_devices, parse_device
from shared.errors import ConfigError, ServiceError

_READY_LIMIT_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.1


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
    redis_host: str = ""
    """Where our own listens beside loopback; empty for `host`."""
    torch_index: str = ""
    """Package index that torch came from, for machines that join."""
    login: bool = False
    """People log in: the first of them with a token that is made at the first start."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What runs, once all of it does."""

    url: str
    data: str
    devices: list[str]
    logs: str
    pid: int
    token: str = ""
    """What the first person logs in with; at the first start alone."""


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
        self._crew = Crew(self._folder, say)
        self._wishes = StopWishes()

    def run(self) -> None:
        """Return when a person, or the system, has stopped it. Raises SpectrainError where it cannot start."""
        devices = device_names(self._options.devices)
        with take_over(self._folder, self._wishes, self._say) as lock:
            check_port_free(self._options.host, self._options.port)
            guardian = Guardian(self._folder, lock)
            hurry = self._wishes.more_than_now()  # for what fails before anybody wished
            try:
                self._start(devices)
                while not self._wishes.count:
                    self._crew.look_after()
                    time.sleep(_LOOK_EVERY_S)
                hurry = self._wishes.more_than_now()  # before it is said that one more kills
                self._say("Stopping: workers save and hand back what they do. Ctrl-C again kills.")
            finally:
                self._crew.stop(hurry=hurry)
                guardian.dismiss()

    def _start(self, devices: Sequence[str]) -> None:
        urls = redis_urls(self._start_redis(), self._options.redis_url)
        api = self._crew.add("api", "api", self._command_of("api"), self._environment(urls, "api"))
        for device in devices:
            command = [*self._command_of("worker"), "--device", device]
            self._crew.add("worker", f"worker-{device.replace(':', '-')}", command, self._environment(urls, "worker"))
        self._wait_for_api(api)
        if not self._wishes.count:
            environment = self._environment(urls, "api")
            self._ready(
                Ready(
                    url=address(self._options.host, self._options.port),
                    data=str(self._folder.path),
                    devices=list(devices),
                    logs=str(self._folder.logs),
                    pid=os.getpid(),
                    token=self._first_token(environment) if self._options.login else "",
                )
            )

    def _first_token(self, environment: Mapping[str, str]) -> str:
        """In a process of its own: the launcher stays as small as it is. Empty where somebody can log in already."""
        try:
            made = subprocess.run(
                self._command_of("api.access.first"),
                env={**os.environ, **environment},
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=_READY_LIMIT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._say(
                f"No token for a first login could be made ({error}): make one with `spectrain token create --role "
                f"admin --data {self._folder.path}`."
            )
            return ""
        return made.stdout.strip()

    def _start_redis(self) -> RedisAccess | None:
        if self._options.redis_url:
            return None
        binary = find_binary()
        access = configure(self._folder.path, host=self._options.redis_host or self._options.host)
        child = self._crew.add("redis", "redis", server_command(binary, self._folder.path), {})
        if child.process is not None:
            wait_until_ready(access, child.process, log=child.log.path)
        return access

    def _environment(self, urls: Mapping[Role, str], role: Role) -> dict[str, str]:
        options = self._options
        environment = {
            "SPECTRAIN_DATA": str(self._folder.path),
            "SPECTRAIN_HOST": options.host,
            "SPECTRAIN_PORT": str(options.port),
            "SPECTRAIN_SERVER": address(options.host, options.port),
            "REDIS_URL": urls[role],
            "PYTHONUNBUFFERED": "1",
        }
        if role == "api":
            environment |= {
                "SPECTRAIN_REDIS_KEEPER_URL": "" if options.redis_url else urls["keeper"],
                "SPECTRAIN_REDIS_HOST": options.redis_host,
                "SPECTRAIN_TORCH_INDEX": options.torch_index,
            }
        return environment

    def _wait_for_api(self, api: Child) -> None:
        url = f"{address(self._options.host, self._options.port)}/readyz"
        deadline = time.monotonic() + _READY_LIMIT_S
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while not self._wishes.count:
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
                self._crew.look_after(but=api)
                time.sleep(_LOOK_EVERY_S)


def device_names(wanted: Sequence[str]) -> list[str]:
    """Names of the devices that get a worker; raises ConfigError for a name that is none, or is there twice."""
    if wanted:
        names = [parse_device(name).name for name in wanted]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ConfigError(
                f"{twice} is named twice: a device has one worker, which runs one job at a time.", field="device"
            )
        return names
    return [device.name for device in discover_devices()]


def page_built() -> bool:
    """Whether the api has a page to serve."""
    return (Path(__file__).resolve().parent.parent / "api" / "web" / "dist" / "index.html").is_file()
