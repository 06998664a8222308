"""SQLite's write-ahead log comes into the file beside the writers, and not within a commit."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import func, select

from api.record.database import Database
from api.record.tables import QueueSetting
from api.record.write_ahead import WriteBack

_ROWS = 30
_TEXT = "x" * 200_000
"""Rows of so many characters fill 1,500 pages."""


def test_a_full_log_waits_for_its_round(tmp_path: Path) -> None:
    database = _filled(tmp_path)
    assert _in_file_alone(tmp_path) == 0
    with database.session() as session:
        session.add(QueueSetting(name="not committed", value={}))
        WriteBack(database).work()  # while somebody writes
        assert _in_file_alone(tmp_path) == _ROWS
    database.close()


def test_who_reads_sees_the_same_all_along(tmp_path: Path) -> None:
    database = _filled(tmp_path)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(QueueSetting)) == _ROWS
        with database.session() as writer:
            writer.add(QueueSetting(name="newer", value={}))
        WriteBack(database).work()
        assert session.scalar(select(func.count()).select_from(QueueSetting)) == _ROWS
    database.close()


def test_nothing_is_to_do_in_memory() -> None:
    WriteBack(Database("sqlite://")).work()


def _filled(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'record.db'}")
    database.migrate()
    database.write_back()
    for number in range(_ROWS):
        with database.session() as session:
            session.add(QueueSetting(name=str(number), value={"text": _TEXT}))
    return database


def _in_file_alone(folder: Path) -> int:
    """Rows in the file as it is without its log."""
    (folder / "copy").mkdir(exist_ok=True)
    copy = shutil.copy(folder / "record.db", folder / "copy" / "record.db")
    connection = sqlite3.connect(copy)
    try:
        return connection.execute("SELECT COUNT(*) FROM queue_settings WHERE name != 'not committed'").fetchone()[0]
    finally:
        connection.close()
