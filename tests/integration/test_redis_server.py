"""The Redis protocol server as it is started for people: users, persistence, ports."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from deploy.redis_server import RedisAccess, RedisServer, Role, configure
from shared.errors import ServiceError
from shared.redis_client import connect

Connect = Callable[[Role], Redis]


@pytest.fixture
def as_user(redis_server: RedisServer) -> Iterator[Connect]:
    clients: list[Redis] = []

    def open_client(role: Role) -> Redis:
        client = connect(redis_server.url(role))
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def own_server(tmp_path: Path, redis_binary: Path) -> Iterator[RedisServer]:
    """A second server, to be killed and started as a test likes."""
    server = RedisServer(tmp_path / 'data with "quotes"', log=tmp_path / "redis.log", binary=redis_binary)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET *",
        "CONFIG SET dir /tmp",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "ACL LIST",
        "ACL SETUSER worker +@all",
        "SHUTDOWN NOSAVE",
        "MONITOR",
        "SCRIPT FLUSH",
        "FUNCTION FLUSH",
        "REPLICAOF 127.0.0.1 1",
        "MODULE LIST",
        "CLIENT LIST",
        "GET other:key",
        "SET other:key 1",
        "PUBLISH other 1",
    ],
)
@pytest.mark.parametrize("role", ["api", "worker"])
def test_roles_cannot_administer_or_leave_their_keys(as_user: Connect, role: Role, command: str) -> None:
    with pytest.raises(NoPermissionError):
        as_user(role).execute_command(*command.split())


def test_the_worker_cannot_look_for_keys_that_it_was_not_told(as_user: Connect) -> None:
    with pytest.raises(NoPermissionError):
        as_user("worker").scan()
    as_user("api").scan()


@pytest.mark.parametrize("role", ["api", "worker"])
def test_roles_can_do_their_work(as_user: Connect, role: Role) -> None:
    redis = as_user(role)

    redis.xadd(f"spectrain:test:{role}", {"event": "{}"}, id="1-0")
    count = redis.eval("return redis.call('XLEN', KEYS[1])", 1, f"spectrain:test:{role}")
    redis.lpush(f"device.{role}", "ticket")
    with redis.pubsub() as subscription:
        subscription.psubscribe("spectrain:events:*")
        confirmed = subscription.get_message(timeout=5.0)

    assert count == 1
    assert confirmed is not None
    assert confirmed["type"] == "psubscribe"
    assert "run_id" in redis.info("server")  # type: ignore[operator]


def test_scripts_cannot_leave_the_keys_either(as_user: Connect) -> None:
    with pytest.raises(ResponseError, match="No permissions"):
        as_user("worker").eval("return redis.call('GET', 'other:key')", 0)


def test_the_admin_sees_no_data(as_user: Connect) -> None:
    admin = as_user("admin")

    assert admin.ping()
    with pytest.raises(NoPermissionError):
        admin.get("spectrain:anything")


@pytest.mark.parametrize("url", ["redis://{at}/0", "redis://api:wrong@{at}/0", "redis://:wrong@{at}/0"])
def test_nobody_enters_without_the_password(redis_server: RedisServer, url: str) -> None:
    access = redis_server.access
    client = connect(url.format(at=f"{access.host}:{access.port}"))

    with pytest.raises((AuthenticationError, NoPermissionError)):
        client.get("spectrain:anything")

    client.close()


def test_what_was_written_out_survives_a_kill(own_server: RedisServer) -> None:
    with connect(own_server.url("api")) as redis:
        redis.xadd("spectrain:job:1:events", {"event": "kept"}, id="1-0")
        # The file is written before the answer and flushed to disk every second; a killed process loses neither.
    killed = own_server.pid

    own_server.kill()
    own_server.start()

    assert own_server.pid != killed
    with connect(own_server.url("api")) as redis:
        assert redis.xrange("spectrain:job:1:events") == [("1-0", {"event": "kept"})]


def test_a_clean_stop_keeps_everything_and_says_so(own_server: RedisServer, tmp_path: Path) -> None:
    with connect(own_server.url("worker")) as redis:
        redis.set("spectrain:kept", "yes")

    own_server.stop()
    log = (tmp_path / "redis.log").read_text()
    own_server.start()

    assert "ready to exit" in log
    with connect(own_server.url("worker")) as redis:
        assert redis.get("spectrain:kept") == "yes"


def test_passwords_and_port_stay_and_are_private(tmp_path: Path) -> None:
    first = configure(tmp_path)
    second = configure(tmp_path)

    assert first == second == RedisAccess.read(tmp_path)
    assert len(set(first.passwords.values())) == 4
    for name in ("users.json", "users.acl", "redis.conf"):
        assert stat.S_IMODE((tmp_path / "redis" / name).stat().st_mode) == 0o600
    assert not any(password in (tmp_path / "redis" / "users.acl").read_text() for password in first.passwords.values())


def test_a_port_that_somebody_took_is_given_up(tmp_path: Path) -> None:
    before = configure(tmp_path)

    with socket.socket() as other:
        other.bind(("127.0.0.1", before.port))
        other.listen()
        after = configure(tmp_path)

    assert after.port != before.port
    assert after.passwords == before.passwords


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path, redis_binary: Path) -> None:
    broken = "user broken on +nonsense\n"
    server = RedisServer(tmp_path, log=tmp_path / "redis.log", binary=redis_binary, extra_users=broken)

    with pytest.raises(ServiceError, match="nonsense"):
        server.start()
    server.stop()
