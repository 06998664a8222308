"""`spectrain worker --server URL --token T`: this machine's devices serve another machine's api.

ask the api -> Redis address, store, settings -> a worker process per device, kept alive -> ask again when Redis fails

The password of the workers' Redis users is made here and stays here: the api gets its hash, so that asking again
changes nothing for what runs. In `joined` of the data folder lie the logs, the lock, and for `doctor` what was
joined, readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.views import JoinedWorkerView, JoinRequest, JoinView
from deploy.children import Crew, Say, StopWishes, take_over
from deploy.cli.api_client import ApiClient, ApiError, UnreachableError
from deploy.data_folder import DataFolder, JoinedServer
from deploy.guardian import Guardian
from deploy.launcher import device_names, module_command
from shared.event_bus import WORKER_TTL_S
from shared.redis_client import connect
from shared.version import VERSION

_LOOK_EVERY_S: Final = 0.1
_PROBE_EVERY_S: Final = 2.0
_PROBE_LIMIT_S: Final = 3.0
_LONGEST_PAUSE_S: Final = 60.0
"""Between two questions to an api that answers while its Redis does not."""
_CLASH_LIMIT_S: Final = WORKER_TTL_S + 3.0
"""A name is taken until the heartbeat of a worker that was killed has expired."""


@dataclass(frozen=True, kw_only=True)
class JoinOptions:
    """What `spectrain worker` was told."""

    server: str
    token: str
    data: Path
    devices: tuple[str, ...] = ()
    """Devices that get a worker; none given means all that are found."""
    name: str = ""
    labels: tuple[str, ...] = ()


class GrowingPause:
    """Between questions because of one trouble: twice as long each time."""

    def __init__(self) -> None:
        self._trouble = ""
        self._due_at = 0.0
        self._pause_s = _PROBE_EVERY_S

    def over(self, trouble: str) -> bool:
        """Whether to ask now because of `trouble`; one that is new is asked about at once."""
        now = time.monotonic()
        if trouble != self._trouble:
            self.end()
            self._trouble = trouble
        if now < self._due_at:
            return False
        self._due_at = now + self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        return True

    def end(self) -> None:
        """Ask at once when there is trouble again."""
        self._trouble, self._due_at, self._pause_s = "", 0.0, _PROBE_EVERY_S


class JoinedMachine:
    """Workers on this machine for a server elsewhere. `say` takes sentences for the person."""

    def __init__(
        self, options: JoinOptions, *, say: Say, command_of: Callable[[str], list[str]] = module_command
    ) -> None:
        self._options = options
        self._say = say
        self._command_of = command_of
        self._devices = device_names(options.devices)
        self._folder = DataFolder(options.data / "joined")
        self._crew = Crew(self._folder, say)
        self._client = ApiClient(options.server, token=options.token)
        self._password = secrets.token_urlsafe(24)
        self._probes: list[Redis] = []
        self._told = ""
        self._pause = GrowingPause()
        self._wishes = StopWishes()

    def run(self) -> None:
        """Return when a person, or the system, has stopped it.

        Raises UnreachableError where no server answers at the start, ApiError once it refuses this machine.
        """
        with take_over(self._folder, self._wishes, self._say) as lock:
            answer = self._ask_first()
            # For the guardian too, which may have to wait for a trainer that saves.
            os.environ.update(_settings(answer))
            guardian = Guardian(self._folder, lock)
            hurry = self._wishes.more_than_now()  # for what fails before anybody wished
            try:
                self._serve(answer)
                hurry = self._wishes.more_than_now()  # before it is said that one more kills
                self._say("Stopping: workers save and hand back what they do. Ctrl-C again kills.")
            finally:
                self._crew.stop(hurry=hurry)
                guardian.dismiss()
                self._close_probes()

    def _serve(self, answer: JoinView) -> None:
        self._keep(answer)
        for warning in answer.warnings:
            self._say(f"Warning: {warning}")
        running = False
        probed_at = 0.0
        while not self._wishes.count:
            self._crew.look_after()
            if time.monotonic() - probed_at >= _PROBE_EVERY_S:
                trouble = self._redis_trouble()
                newer = self._ask_again() if trouble and self._pause.over(trouble) else None
                if newer is not None and newer.workers == answer.workers:
                    self._tell(trouble)
                elif newer is not None:
                    self._say("The server's Redis moved: the workers save and start anew.")
                    self._crew.stop(hurry=self._wishes.more_than_now())
                    answer, running = newer, False
                    self._keep(answer)
                elif not trouble:
                    self._pause.end()
                    if running:
                        self._tell("")
                    else:
                        self._start(answer)
                        running = True
                probed_at = time.monotonic()
            time.sleep(_LOOK_EVERY_S)

    def _ask_first(self) -> JoinView:
        """What the api answers; waits for a worker of the same name whose heartbeat is about to expire."""
        deadline = time.monotonic() + _CLASH_LIMIT_S
        while True:
            try:
                return self._ask()
            except ApiError as error:
                if error.status != 409 or self._wishes.count or time.monotonic() > deadline:
                    raise
                self._tell(f"{error} Waiting a moment, in case that one was just stopped.")
                time.sleep(1.0)

    def _ask_again(self) -> JoinView | None:
        """Ask because Redis fails; None where the server is away too. Raises ApiError where it refuses."""
        try:
            return self._ask()
        except UnreachableError:
            self._pause.end()  # it costs nobody anything
            self._tell(f"The server {self._options.server} is away; what runs goes on until it is back.")
        except ApiError as error:
            if error.status < 500:
                raise
            self._tell(str(error))
        return None

    def _ask(self) -> JoinView:
        request = JoinRequest(
            host=re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:100],
            name=self._options.name or None,
            devices=self._devices,
            versions={"spectrain": VERSION, "python": platform.python_version(), "torch": torch_version()},
            password_sha256=hashlib.sha256(self._password.encode()).hexdigest(),
        )
        return self._client.join(request)

    def _keep(self, answer: JoinView) -> None:
        self._close_probes()
        self._probes = [connect(self._url(worker), timeout_s=_PROBE_LIMIT_S) for worker in answer.workers]
        addresses = sorted({redis_place(worker.redis_url) for worker in answer.workers})
        kept = JoinedServer(server=self._options.server, token=self._options.token, redis=addresses)
        try:
            kept.write(self._options.data)
        except OSError as error:
            self._say(f"What was joined cannot be kept for `spectrain doctor` ({error.strerror}); all else goes on.")

    def _start(self, answer: JoinView) -> None:
        for worker in answer.workers:
            environment = {
                **_settings(answer),
                "REDIS_URL": self._url(worker),
                "SPECTRAIN_SERVER": self._options.server,
                "SPECTRAIN_TOKEN": self._options.token,
                # A person on this machine knows best where it mounts the store.
                "SPECTRAIN_STORAGE": os.environ.get("SPECTRAIN_STORAGE") or answer.storage_url or self._options.server,
                "SPECTRAIN_DATA": str(self._options.data),
                "SPECTRAIN_LABELS": ",".join(self._options.labels) or os.environ.get("SPECTRAIN_LABELS", ""),
                "PYTHONUNBUFFERED": "1",
            }
            command = [*self._command_of("worker"), "--device", worker.device, "--name", worker.name]
            self._crew.add("worker", f"worker-{worker.device.replace(':', '-')}", command, environment)
        names = ", ".join(worker.name for worker in answer.workers)
        self._say(f"Serving {self._options.server} as {names}. Logs: {self._folder.logs}. Ctrl-C stops it.")

    def _redis_trouble(self) -> str:
        """Why the workers cannot talk to Redis; empty when they can."""
        for probe in self._probes:
            try:
                probe.ping()
            except RedisError as error:
                return redis_trouble("{host}:{port}".format(**probe.connection_pool.connection_kwargs), error)
        return ""

    def _url(self, worker: JoinedWorkerView) -> str:
        return worker.redis_url.replace("@", f":{self._password}@", 1) if worker.needs_password else worker.redis_url

    def _tell(self, text: str) -> None:
        """Say `text` unless it was the last thing said; nothing means that all is well again."""
        if text and text != self._told:
            self._say(text)
        elif self._told and not text:
            self._say("All is well again.")
        self._told = text

    def _close_probes(self) -> None:
        for probe in self._probes:
            with contextlib.suppress(RedisError):
                probe.close()
        self._probes = []


def redis_place(url: str) -> str:
    """host:port of a Redis URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"


def redis_trouble(place: str, error: RedisError) -> str:
    """What a person should know of `error`, which a Redis at `place` met a worker with."""
    match error:
        case AuthenticationError():
            return "The server's Redis does not know this machine any more; asking for access again."
        case BusyLoadingError():
            return f"Redis at {place} has just started and still reads its data."
        case RedisConnectionError() | RedisTimeoutError():
            return unreachable(place, str(error))
        case _:
            return f"Redis at {place} refuses its service ({error}): look at disk and memory of the server."


def unreachable(place: str, reason: str) -> str:
    """What to do about a Redis at `place` that does not answer."""
    return f"Redis at {place} does not answer from here ({reason}): open that port in the firewall of the server."


def torch_version() -> str:
    """The version of torch that is installed, without loading it; empty where there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _settings(answer: JoinView) -> dict[str, str]:
    """The server's settings as variables; some are whole numbers and are read as such."""
    return {
        f"SPECTRAIN_{name.upper()}": str(int(value) if value.is_integer() else value)
        for name, value in answer.settings.items()
    }
