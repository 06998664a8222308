"""Opening the record: engine, sessions, migrations. SQLite by default; PostgreSQL by DATABASE_URL.

Who writes takes turns, on both: what a unit of work read is still true when it writes, and the outbox is filled in the
order in which it is committed. Who reads waits for nobody and sees one consistent state.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import from_json
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from api.record.rows import KEPT_CLIPS
from shared.errors import ConfigError

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"
"""Newest migration; a test compares it with the folder."""

_LONGEST_LOG: Final = 8_000
"""Pages of SQLite's write-ahead log after which a commit brings it into the file by itself, as the last resort."""
_READING = "spectrain_reading"
"""Execution option of SQLite's connections that only read."""
_WRITERS_LOCK: Final = 0x5350_4543
"""Key of PostgreSQL's advisory lock that writers take turns by, whichever process they are in."""


class Database:
    """The record's database. Threads share it; each unit of work has a session of its own."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for an address that cannot be used; connects at first use."""
        self.url = url
        self.engine = _engine(url)
        self._is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite's own waiting is a row of growing sleeps; a lock hands over at once.
        self._turn = threading.RLock() if self._is_sqlite else nullcontext()
        if self._is_sqlite:
            _prepare_sqlite(self.engine)
            reader = self.engine.execution_options(**{_READING: True})
        else:
            reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        shared: dict[Any, Any] = {KEPT_CLIPS: {}}
        self._sessions = sessionmaker(self.engine, expire_on_commit=False, info=shared)
        self._readers = sessionmaker(reader, expire_on_commit=False, info=shared)

    @contextmanager
    def session(self) -> Generator[Session]:
        """A session whose work is committed at the end, or rolled back when an exception leaves the block.

        It takes the writers' lock at once, so that what it read is still true when it writes.
        """
        with self._turn, self._sessions() as session, session.begin():
            if not self._is_sqlite:
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session that only reads: one consistent view, and no writer waits for it."""
        with self._readers() as session, session.begin():
            yield session

    def write_back(self) -> None:
        """Bring SQLite's write-ahead log into the file; no reader and no writer waits for it."""
        if self.file is None:
            return
        connection = self.engine.raw_connection()  # not within a transaction, which would have to wait for itself
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def migrate(self) -> None:
        """Bring the schema to the newest version; quick where it is already there."""
        if self.schema() == HEAD:
            return
        # Alembic takes a good part of a second to import and is needed at an upgrade only.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["engine"] = self.engine
        command.upgrade(config, "head")

    @property
    def file(self) -> Path | None:
        """The file that it is in; None for a server."""
        name = self.engine.url.database
        return Path(name) if self._is_sqlite and name and name != ":memory:" else None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def schema(self) -> str | None:
        """The migration that it is at; None where it holds no record. A file that is not there is not made."""
        if self.file is not None and not self.file.exists():
            return None
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _engine(url: str) -> Engine:
    try:
        return create_engine(
            url,
            # A file does not go away between two uses of its connection; a server may.
            pool_pre_ping=not url.startswith("sqlite"),
            hide_parameters=True,
            json_serializer=_as_json,
            json_deserializer=from_json,
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"DATABASE_URL is no address of a database ({error}): use sqlite:///PATH or postgresql+psycopg://…"
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"DATABASE_URL needs the package {error.name}: `{sys.executable} -m pip install 'psycopg[binary]'`, and"
            " start the address with postgresql+psycopg://."
        ) from error


def _as_json(value: Any) -> str:
    """For a JSON column; a model of pydantic's, which may come thousands of times a second, writes itself."""
    return value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value)


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        # SQLAlchemy begins transactions itself (below), so that BEGIN IMMEDIATE can be had.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA wal_autocheckpoint={_LONGEST_LOG}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
