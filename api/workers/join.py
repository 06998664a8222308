"""Joining: a machine with a token gets what its worker processes need, and loses it when the token ends.

The record says which worker joined with which token and by which password; Redis' users are made to agree with that
every few seconds. So a Redis that forgot its users, a token that was revoked while Redis was away, or one that expired,
all end in the same place.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import select
from typing_extensions import override

from api.access.roles import Identity
from api.background import Background
from api.record.database import Database
from api.record.tables import Token, Worker
from api.views import JoinedWorkerView, JoinRequest, JoinView
from api.workers.online import access_warning
from api.workers.redis_users import RedisUsers, user_name
from shared.addresses import EVERYWHERE, is_loopback
from shared.errors import AccessError, ConfigError, InUseError
from shared.event_bus import WORKER_KEY
from shared.settings import Settings
from shared.version import VERSION

_EVERY_S: Final = 3.0
_SHARED_SETTINGS: Final = (
    *("lease_s", "stall_s", "setup_stall_s", "grace_s", "redis_away_s", "worker_silent_s", "stream_events"),
)
"""What api and workers must agree on, or what a person sets once for all machines."""

log = structlog.get_logger(__name__)


class JoinedWorkers(Background):
    """The workers that joined with tokens."""

    def __init__(self, *, settings: Settings, database: Database, redis: Redis) -> None:
        super().__init__("joined", every_s=_EVERY_S)
        self._settings = settings
        self._database = database
        self._redis = redis
        self._users = RedisUsers(settings.redis_keeper_url) if settings.redis_keeper_url else None
        self.cut_off: Callable[[str], None] = lambda _: None
        """Called with the name of a worker whose access ended: it gets no more work."""
        self.access_ends: Callable[[Mapping[str, float]], None] = lambda _: None
        """Called with the workers whose access has an end, and when that is."""
        self._removed: set[tuple[str, str]] = set()
        """Names and passwords of workers that were removed while they ran: they do not come back by themselves."""
        self._changing = threading.Lock()
        """Held while record and Redis are brought in line: else a user just made might be taken for one too many."""

    def join(self, request: JoinRequest, token: Identity, *, reached_as: str) -> JoinView:
        """Let the machine of `request` serve; it reached the api by the name `reached_as`.

        Asking again with the same password changes nothing. Raises ConfigError for another version, InUseError for a
        name that is taken, redis.RedisError while Redis is away.
        """
        if request.versions.get("spectrain") != VERSION:
            raise ConfigError(
                f"This server is Spectrain {VERSION} and that machine has {request.versions.get('spectrain')}: run the "
                "pasted line again there, it installs the server's version.",
                field="versions.spectrain",
            )
        token_id = token.token_id
        if token_id is None:
            raise AccessError("A machine joins with a token: make one with `spectrain token create --role worker`.")
        url = redis_address(self._settings, reached_as)
        devices = list(dict.fromkeys(request.devices))
        workers = [
            JoinedWorkerView(
                name=name,
                device=device,
                redis_url=_with_user(url, name) if self._users else url,
                needs_password=self._users is not None,
            )
            for device, name in zip(devices, worker_names(request, devices), strict=True)
        ]
        with self._changing:
            for worker in workers:
                self._check_free(worker.name, token_id, request.password_sha256)
            for worker in workers:
                self._note(worker.name, token_id, request.password_sha256)
                if self._users is not None:
                    self._users.admit(worker.name, request.password_sha256)
        log.info("workers.joined", workers=[worker.name for worker in workers], token=token_id)
        return JoinView(
            workers=workers,
            storage_url=join_storage(self._settings),
            settings={name: getattr(self._settings, name) for name in _SHARED_SETTINGS},
            warnings=[*_differences(request.versions), *self._ending(token_id)],
        )

    def forget_worker(self, name: str) -> None:
        """End the access of a worker, at once and until it is started anew; nothing happens to one that did not join.

        To be called outside of a transaction: it writes to the record.
        """
        with self._changing:
            with self._database.session() as session:
                worker = session.get(Worker, name)
                if worker is None or worker.token_id is None:
                    return
                self._removed.add((name, worker.redis_sha256))
                worker.redis_sha256 = ""
            if self._users is not None:
                self._users.remove(user_name(name))
        self.cut_off(name)

    def forget_token(self, token_id: int) -> None:
        """Take away, at once, what was given for a token that was revoked; while Redis is away, once it is back."""
        with self._database.reading() as session:
            names = list(session.scalars(select(Worker.name).where(Worker.token_id == token_id)))
        try:
            for name in names:
                self.forget_worker(name)
        except RedisError as error:
            log.warning("workers.not_forgotten", token=token_id, error=str(error))
            self.wake()

    @override
    def work(self) -> None:
        """Make Redis' users agree with the record, and see that nobody works with a token that ended."""
        with self._changing:
            wanted = self._wanted()
            if self._users is not None:
                self._bring_in_line(self._users, wanted)
        with self._database.reading() as session:
            joined = list(session.scalars(select(Worker.name).where(Worker.token_id.is_not(None))))
        for name in joined:
            if name not in wanted:
                self.cut_off(name)

    @override
    def stop(self) -> None:
        super().stop()
        if self._users is not None:
            self._users.close()

    def _bring_in_line(self, users: RedisUsers, wanted: Mapping[str, str]) -> None:
        there = users.names()
        for user in there - {user_name(name) for name in wanted}:
            log.info("workers.user_removed", user=user)
            users.remove(user)
        for name, password_sha256 in wanted.items():
            if user_name(name) not in there:
                users.admit(name, password_sha256)

    def _ending(self, token_id: int) -> list[str]:
        """What a machine that joins should be told of its token."""
        with self._database.reading() as session:
            warning = access_warning(session.get_one(Token, token_id).expires_at)
        return [warning] if warning else []

    def _wanted(self) -> dict[str, str]:
        """Workers that joined with a token that counts, each with the hash of its password; tells when that ends."""
        now = time.time()
        with self._database.reading() as session:
            rows = session.execute(
                select(Worker.name, Worker.redis_sha256, Token.expires_at)
                .join(Token, Token.id == Worker.token_id)
                .where(Worker.redis_sha256 != "", Token.revoked_at.is_(None))
            ).all()
        self.access_ends({name: expires_at for name, _, expires_at in rows if expires_at is not None})
        return {name: sha256 for name, sha256, expires_at in rows if expires_at is None or expires_at > now}

    def _check_free(self, name: str, token_id: int, password_sha256: str) -> None:
        """Raise InUseError where somebody else serves under that name, or this machine was sent away."""
        if (name, password_sha256) in self._removed:
            raise InUseError(f"The worker {name} was removed on the server: start it again to have it back.")
        with self._database.reading() as session:
            worker = session.get(Worker, name)
            same = worker is not None and (worker.token_id, worker.redis_sha256) == (token_id, password_sha256)
        if not same and self._redis.exists(f"{WORKER_KEY}{name}"):
            raise InUseError(f"A worker called {name} is at work already: stop that one, or give this one a --name.")

    def _note(self, name: str, token_id: int, password_sha256: str) -> None:
        now = time.time()
        with self._database.session() as session:
            worker = session.get(Worker, name)
            if worker is None:
                worker = Worker(name=name, first_seen_at=now, last_seen_at=now)
                session.add(worker)
            worker.token_id, worker.redis_sha256 = token_id, password_sha256


def worker_names(request: JoinRequest, devices: list[str]) -> list[str]:
    """What the workers for `devices` are called."""
    if request.name is not None and len(devices) == 1:
        return [request.name]
    return [f"{request.name or request.host}/{device}" for device in devices]


def redis_address(settings: Settings, reached_as: str) -> str:
    """Redis' URL without user for a machine that reaches the api by the name `reached_as`, or REDIS_URL as it is.

    Raises ConfigError where Redis is out of that machine's reach.
    """
    here = is_loopback(reached_as)
    if not settings.redis_keeper_url:
        if not here and is_loopback(urlsplit(settings.redis_url).hostname or ""):
            raise ConfigError(
                "This server uses a Redis that only its own machine reaches: give it a REDIS_URL with an address that "
                "all machines reach."
            )
        return settings.redis_url
    parts = urlsplit(settings.redis_keeper_url)
    bound = settings.redis_host or settings.host
    if here:
        host = "127.0.0.1"
    elif is_loopback(bound):
        raise ConfigError(
            "This server's Redis listens on its own machine alone: start it with `spectrain up --host ADDRESS`, or "
            "--redis-host ADDRESS, so that other machines reach it."
        )
    else:
        host = reached_as if bound in (*EVERYWHERE, "*", settings.host) else bound
    return urlunsplit((parts.scheme, f"{_bracketed(host)}:{parts.port}", parts.path, "", ""))


def join_storage(settings: Settings) -> str:
    """Artifact store that machines are told of; empty for the api itself."""
    if settings.join_storage:
        return settings.join_storage
    return settings.storage if settings.storage.startswith("s3://") else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _with_user(url: str, worker: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user_name(worker)}@{rest}"


def _differences(versions: dict[str, str]) -> list[str]:
    """Sentences about versions that need not, but should, equal the server's."""
    ours = {"python": platform.python_version().rpartition(".")[0], "torch": _torch_version()}
    theirs = {"python": versions.get("python", "").rpartition(".")[0], "torch": versions.get("torch", "")}
    return [
        f"This machine has {name} {theirs[name] or 'of unknown version'}, the server has {ours[name]}: trainings that "
        "move between them go on, but not bit for bit."
        for name in ours
        if ours[name] and theirs[name].partition("+")[0] != ours[name].partition("+")[0]
    ]


def _torch_version() -> str:
    """The version that is installed beside the api, which never imports it; empty where there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
