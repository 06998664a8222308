"""The record as one SQLite file, whichever database it is in, and back into either.

SQLite      -> its own online backup: one consistent state, and nobody waits
PostgreSQL  -> row by row out of one snapshot; and so into PostgreSQL when it is put back
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import func, insert, select, text

from api.record.database import Database
from api.record.queue_settings import newest_deleted
from api.record.tables import Base
from shared.errors import ServiceError

_ROWS: Final = 500


def copy_record(database: Database, target: Path) -> None:
    """Write the record as it is at one moment to the file `target`, at the newest schema."""
    if database.file is None:
        with closing(Database(f"sqlite:///{target}")) as copy:
            copy.migrate()
            _copy_rows(database, copy)
        return
    try:
        with closing(sqlite3.connect(database.file)) as source, closing(sqlite3.connect(target)) as copied:
            source.backup(copied)
            copied.execute("PRAGMA journal_mode=DELETE")  # one file, whatever reads it
    except sqlite3.Error as error:
        raise ServiceError(f"The record at {database.file} cannot be copied: {error}.") from error
    with closing(Database(f"sqlite:///{target}")) as copy:
        copy.migrate()


def put_record(source: Path, database: Database) -> None:
    """Fill the empty PostgreSQL `database` with the record in the file `source`, which is at the newest schema."""
    database.migrate()
    with closing(Database(f"sqlite:///{source}")) as copy:
        _copy_rows(copy, database)
    with database.session() as session:
        deleted = {"jobs": newest_deleted(session, "job"), "datasets": newest_deleted(session, "dataset")}
        for table in Base.metadata.sorted_tables:
            if "id" not in table.columns:
                continue
            newest = max(session.scalar(select(func.max(table.c.id))) or 0, deleted.get(table.name, 0))
            session.execute(
                text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :next, false)"),
                {"name": table.name, "next": newest + 1},
            )


def is_empty(database: Database) -> bool:
    """Whether a database holds no record, or one in which nothing ever was."""
    if database.schema() is None:
        return True
    with database.reading() as session:
        return all(
            session.scalar(select(func.count()).select_from(table)) == 0 for table in Base.metadata.sorted_tables
        )


def _copy_rows(source: Database, target: Database) -> None:
    with source.reading() as reader, target.session() as writer:
        for table in Base.metadata.sorted_tables:
            rows = reader.execute(select(table).execution_options(yield_per=_ROWS)).mappings()
            for part in rows.partitions(_ROWS):
                writer.execute(insert(table), [dict(row) for row in part])
