"""The first token: `python -m api.access.first` prints one with which the first person logs in, where nobody can yet.

Nothing but its hash is kept, so it is shown to who started the server and to nobody else.
"""

from __future__ import annotations

import sys

from api.access.roles import Role
from api.access.tokens import Tokens
from api.access.views import NewTokenView
from api.record.database import Database
from shared.errors import ConfigError
from shared.settings import Settings


def first_admin(settings: Settings) -> str:
    """Secret of a new administrator's token; empty where nobody has to log in, or an administrator can."""
    if not settings.needs_login:
        return ""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.record_url)
    try:
        database.migrate()
        tokens = Tokens(database)
        return "" if tokens.has_admin() else tokens.create(name="first start", role=Role.ADMIN).secret
    finally:
        database.close()


def make_token(settings: Settings, *, role: Role, name: str, expires_at: float | None) -> NewTokenView:
    """A token made on the record itself, by somebody who may write it: the way back in for who lost theirs.

    Raises ConfigError where no server has ever run.
    """
    database = Database(settings.record_url)
    try:
        if database.file is not None and not database.file.is_file():
            raise ConfigError(f"No Spectrain keeps its record in {settings.data}: name its data folder.", field="data")
        database.migrate()
        return Tokens(database).create(name=name, role=role, expires_at=expires_at)
    finally:
        database.close()


if __name__ == "__main__":
    sys.stdout.write(first_admin(Settings()))
