"""What tests need from outside: Redis protocol server, PostgreSQL, a browser, each found or explained."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from redis import Redis

from deploy.redis_server import RedisServer, find_binary
from shared.errors import ServiceError
from tests.postgresql import PostgresServer, find_postgresql, run_postgresql
from tests.receiver import Receiver

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC_BROWSERS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="inject faults as often as a proof needs; takes an hour")
    parser.addoption("--security", action="store_true", help="try hostile input as often as a proof needs; takes long")


def missing(what: str) -> NoReturn:
    """A service is not there: a failure in continuous integration, elsewhere a test left out with its reason."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def owner_password() -> str:
    """Password of the user `owner`, who may do everything: besides the roles' users, in tests alone."""
    return secrets.token_urlsafe(16)


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    """The program of the Redis protocol server that people get."""
    try:
        return find_binary()
    except ServiceError as error:
        missing(str(error))


@contextmanager
def running_redis(data: Path, binary: Path, owner_password: str) -> Generator[RedisServer]:
    """A server as people get it, users and all, and the user `owner` besides, with its data in `data`."""
    owner = f"user owner on >{owner_password} ~* &* +@all\n"
    server = RedisServer(data, log=data / "redis.log", binary=binary, extra_users=owner)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, redis_binary: Path, owner_password: str
) -> Iterator[RedisServer]:
    """One server for all tests."""
    with running_redis(tmp_path_factory.mktemp("redis"), redis_binary, owner_password) as server:
        yield server


@pytest.fixture(scope="module")
def owner(redis_server: RedisServer, owner_password: str) -> Iterator[Redis]:
    """A client that may look at and change everything."""
    access = redis_server.access
    with Redis(
        host=access.host, port=access.port, username="owner", password=owner_password, decode_responses=True
    ) as redis:
        yield redis


@pytest.fixture(scope="module")
def redis_url(redis_server: RedisServer, owner: Redis) -> str:
    """How the api connects to an empty server: with its own user, so that a missing permission shows."""
    owner.flushall()
    return redis_server.url("api")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who is told by webhooks."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server, where it is installed: it is an option, so nowhere does its absence count as a failure."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql).")
    with run_postgresql(programs) as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a record on both databases, in modules that say ON_BOTH_DATABASES."""
    if "record_url" in metafunc.fixturenames and getattr(metafunc.module, "ON_BOTH_DATABASES", False):
        metafunc.parametrize("record_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def record_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty record: SQLite, or what a test's parameter of this name says."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path / 'record.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    with server.record() as url:
        yield url


def find_chromium() -> Path | None:
    """The program of a Chromium-like browser; SPECTRAIN_CHROMIUM names another one."""
    candidates = (os.environ.get("SPECTRAIN_CHROMIUM", ""), *_BROWSERS, *_MAC_BROWSERS)
    return next((Path(found) for one in candidates if one and (found := shutil.which(one))), None)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser of the tests."""
    found = find_chromium()
    if found is None:
        missing("No Chromium was found: install it (Debian: apt-get install chromium) or set SPECTRAIN_CHROMIUM.")
    return found
