"""Readiness looks at the thing itself; liveness at what only a new start mends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api import readiness
from api.readiness import Readiness, folder_trouble, redis_trouble
from api.record.database import Database
from tests.unit.api.conftest import TwinCore

WELL = {"loading": 0, "aof_enabled": 1, "aof_last_write_status": "ok", "used_memory": 5, "maxmemory": 1 << 30}


class TwinRedis:
    """Tells of itself what it is told to."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = dict(WELL)
        self.away = False

    def info(self, section: str) -> dict[str, Any]:
        if self.away:
            raise RedisConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")
        memory = ("used_memory", "maxmemory", "maxmemory_policy")
        return {name: each for name, each in self.told.items() if (name in memory) == (section == "memory")}


@pytest.fixture
def redis() -> TwinRedis:
    return TwinRedis()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'record.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def looked_at(redis: TwinRedis, database: Database, tmp_path: Path) -> Readiness:
    return Readiness(
        redis=cast(Redis, redis),
        database=database,
        folders=[tmp_path],
        parts=[SimpleNamespace(name="recorder", trouble="", rounds=())],
    )


def test_all_is_well(looked_at: Readiness) -> None:
    assert looked_at.checks() == {"redis": "", "record": "", "disk": "", "recorder": ""}
    assert looked_at.ended() == []


def test_a_redis_that_is_away(looked_at: Readiness, redis: TwinRedis) -> None:
    redis.away = True
    assert looked_at.checks()["redis"].startswith("Redis does not answer: Error 111")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"loading": 1}, "still reads its data"),
        ({"aof_last_write_status": "err"}, "cannot write to its disk"),
        ({"used_memory": 1 << 30}, "has used all of its 1024 MiB of memory"),
    ],
)
def test_a_redis_that_answers_but_takes_nothing(
    looked_at: Readiness, redis: TwinRedis, told: dict[str, Any], sentence: str
) -> None:
    redis.told |= told
    assert sentence in looked_at.checks()["redis"]


def test_a_redis_that_may_forget_is_never_full() -> None:
    assert redis_trouble({**WELL, "used_memory": 1 << 30, "maxmemory_policy": "allkeys-lru"}) == ""


def test_a_record_that_was_taken_away(looked_at: Readiness, database: Database) -> None:
    assert database.file is not None
    database.file.rename(database.file.with_suffix(".aside"))
    assert "is gone" in looked_at.checks()["record"]


def test_a_record_without_its_tables(looked_at: Readiness, database: Database) -> None:
    with database.session() as session:
        session.connection().exec_driver_sql("DROP TABLE alembic_version")
    assert looked_at.checks()["record"] == "The record does not answer: OperationalError"


def test_a_folder_that_went(tmp_path: Path) -> None:
    assert folder_trouble(tmp_path) == ""
    assert "cannot be reached (No such file or directory)" in folder_trouble(tmp_path / "gone")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"f_flag": os.ST_RDONLY}, "is read-only"),
        ({"f_bavail": 25_600}, ""),
        ({"f_bavail": 25_599}, "Only 99 MiB of disk are free"),
        ({"f_files": 1000, "f_favail": 0}, "takes no more files"),
    ],
)
def test_a_disk_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, int], sentence: str
) -> None:
    disk = {"f_flag": 0, "f_bavail": 1 << 30, "f_frsize": 4096, "f_files": 0, "f_favail": 0, **changes}
    monkeypatch.setattr(readiness.os, "statvfs", lambda _: SimpleNamespace(**disk))
    told = folder_trouble(tmp_path)
    assert sentence in told
    assert bool(told) == bool(sentence)


def test_a_part_that_ended_is_told_by_liveness(client: FlaskClient, core: TwinCore) -> None:
    core.checks = {"redis": "Redis does not answer"}
    assert client.get("/healthz").status_code == 200  # it comes back without a new start
    core.ended = ["recorder"]
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (503, {"status": "recorder ended: start the api anew."})
