"""The migrations lead to the tables that the code knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from api.record.database import HEAD, MIGRATIONS, Database
from api.record.tables import Base

ON_BOTH_DATABASES = True


@pytest.fixture
def database(record_url: str) -> Iterator[Database]:
    database = Database(record_url)
    yield database
    database.close()


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_a_migrated_record_has_the_tables_of_the_code(database: Database) -> None:
    database.migrate()
    with database.engine.connect() as connection:
        # PostgreSQL cannot compare JSON, so a default of `{}` cannot be compared there.
        defaults = connection.dialect.name == "sqlite"
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": defaults}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_second_migration_changes_nothing(database: Database) -> None:
    database.migrate()
    database.migrate()
    with database.reading() as session:
        assert session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
