"""A PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

_SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "50"}
"""Reached by its Unix socket alone; nothing of it needs to outlive the machine."""


class PostgresServer:
    """A running server; every record gets a schema of its own, which takes far less time than a database."""

    def __init__(self, folder: Path) -> None:
        self._url = f"postgresql+psycopg://spectrain@/postgres?host={folder}"
        self._engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Disconnect."""
        self._engine.dispose()

    @contextmanager
    def record(self) -> Generator[str]:
        """Address of an empty record, dropped afterwards."""
        schema = f"record_{next(self._numbers)}"
        self._run(f"CREATE SCHEMA {schema}")
        try:
            yield f"{self._url}&options=-csearch_path%3D{schema}"
        finally:
            self._run(f"DROP SCHEMA {schema} CASCADE")

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement))


def find_postgresql() -> Path | None:
    """The folder of PostgreSQL's programs: on PATH, or where Debian has them, which is beside it."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


@contextmanager
def run_postgresql(programs: Path) -> Generator[PostgresServer]:
    """A server in a temporary folder, as a user who is not root."""
    with tempfile.TemporaryDirectory(prefix="spectrain-postgresql-", dir="/tmp") as name:
        folder, user = Path(name), _unprivileged()
        if user is not None:
            os.chown(folder, user, -1)
        data = folder / "data"
        _call([programs / "initdb", "-D", data, "-U", "spectrain", "-A", "trust", "-E", "UTF8", "--no-sync"], user)
        options = " ".join(f"-c {key}={value or repr(value)}" for key, value in _SETTINGS.items())
        start = ["-D", data, "-l", folder / "log", "-o", f"-k {folder} {options}", "-w"]
        _call([programs / "pg_ctl", "start", *start], user)
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.close()
            _call([programs / "pg_ctl", "stop", "-D", data, "-m", "immediate"], user)


def _unprivileged() -> int | None:
    """The user that root steps down to, since PostgreSQL refuses root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise OSError("There is neither a user postgres nor nobody.")


def _call(command: list[str | Path], user: int | None) -> None:
    # Its server inherits the descriptors: a pipe would never end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, cwd="/", user=user, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read().decode(errors="replace")
