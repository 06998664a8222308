"""What ties a record to its artifact store: an id that both have.

    queue_settings "installation" {"id", "tied"}   <->   installation.json {"id"} in the store

A record without an id, which is new or of an older version, gets one at the api's start, and so does the store then,
unless it has one. Who removes what the record does not know asks first whether the store is that of the record.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

import structlog

from api.record.database import Database
from api.record.tables import QueueSetting
from shared.errors import InUseError, NotFoundError, StorageError
from shared.storage import Storage

KEY: Final = "installation.json"
"""Where the store has the id."""
_SETTING: Final = "installation"

log = structlog.get_logger(__name__)


class Installation:
    """The record of `database` with its `storage`."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    def tie(self) -> None:
        """Give record and store an id where the record has never had one; a store that is away gets it later."""
        with self._database.reading() as session:
            row = session.get(QueueSetting, _SETTING)
        if row is not None and row.value["tied"]:
            return
        with self._database.session() as session:
            row = session.get(QueueSetting, _SETTING)
            if row is None:
                row = QueueSetting(name=_SETTING, value={"id": uuid.uuid4().hex, "tied": False})
                session.add(row)
        try:
            if not self._storage.exists(KEY):
                self._storage.write(KEY, json.dumps({"id": row.value["id"]}).encode())
        except StorageError as error:
            log.warning("installation.waits", error=str(error))
            return
        with self._database.session() as session:
            row = session.get_one(QueueSetting, _SETTING)
            row.value = {**row.value, "tied": True}

    def check(self) -> None:
        """Raise InUseError unless the store is that of the record."""
        self.tie()
        with self._database.reading() as session:
            own = str(session.get_one(QueueSetting, _SETTING).value["id"])
        try:
            found: Any = json.loads(self._storage.read(KEY))
        except (NotFoundError, ValueError):
            found = None
        if found != {"id": own}:
            raise InUseError(
                "The artifact store is not the one that this record was made with, so what the record does not know may"
                " be needed elsewhere: check DATABASE_URL and SPECTRAIN_STORAGE, and where both are right, write"
                f' {{"id": "{own}"}} to {KEY} in the store.'
            )
