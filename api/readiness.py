"""Whether the api can do its work: Redis, record, disk and its own threads, each well or with what is wrong with it.

Every check looks at the thing itself: a Redis that answers but takes no writes, a record whose file was taken away, a
disk that is full, read-only or gone, a thread that ended or does not get on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.background import Rounds
from api.record.database import Database

_MIN_FREE_BYTES: Final = 100 << 20


class Part(Protocol):
    """Work beside answering."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def trouble(self) -> str:
        """What is wrong with it; empty when it is well."""
        ...

    @property
    def rounds(self) -> Sequence[Rounds]:
        """Its threads."""
        ...


class Readiness:
    """Looks at what the api needs. `folders` are those that it writes to, on disks of this machine."""

    def __init__(self, *, redis: Redis, database: Database, folders: Sequence[Path], parts: Sequence[Part]) -> None:
        self._redis = redis
        self._database = database
        self._folders = folders
        self.parts = parts

    def checks(self) -> Mapping[str, str]:
        """Each thing that is needed: nothing when it is well, else what is wrong."""
        return {
            "redis": self._redis_trouble(),
            "record": self._record_trouble(),
            "disk": next(filter(None, map(folder_trouble, self._folders)), ""),
            **{part.name: part.trouble for part in self.parts},
        }

    def ended(self) -> Sequence[str]:
        """Names of the parts that have a thread which ended: only a new start of the process brings it back."""
        return [part.name for part in self.parts if any(rounds.gone for rounds in part.rounds)]

    def _redis_trouble(self) -> str:
        try:
            answers: dict[str, Any] = {**self._redis.info("persistence"), **self._redis.info("memory")}
        except RedisError as error:
            return f"Redis does not answer: {error}"
        return redis_trouble(answers)

    def _record_trouble(self) -> str:
        file = self._database.file
        if file is not None and not file.exists():
            return f"The record's file {file} is gone: what is written now is lost. Put it back and start anew."
        try:
            with self._database.reading() as session:
                session.execute(text("SELECT version_num FROM alembic_version"))
        except SQLAlchemyError as error:
            return f"The record does not answer: {type(error).__name__}"
        return ""


def redis_trouble(info: Mapping[str, Any]) -> str:
    """What keeps a Redis that tells `info` of its persistence and memory from taking what is written."""
    if int(info.get("loading", 0)):
        return "Redis has just started and still reads its data."
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        return "Redis cannot write to its disk, most likely because the disk is full: free some space."
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used >= limit and info.get("maxmemory_policy", "noeviction") == "noeviction":
        return f"Redis has used all of its {limit >> 20} MiB of memory: give it more (maxmemory)."
    return ""


def folder_trouble(folder: Path) -> str:
    """What keeps files from being written to `folder`; empty when nothing does."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return f"The folder {folder} cannot be reached ({error.strerror}): look at its disk."
    if disk.f_flag & os.ST_RDONLY:
        return f"The disk of {folder} is read-only."
    free = disk.f_bavail * disk.f_frsize
    if free < _MIN_FREE_BYTES:
        return f"Only {free >> 20} MiB of disk are free in {folder}."
    if disk.f_files and not disk.f_favail:
        return f"The disk of {folder} takes no more files, although it has space."
    return ""
