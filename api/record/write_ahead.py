"""SQLite's write-ahead log is brought into the record's file beside the writers.

Left to itself, SQLite does that within a commit, once the log has a thousand pages: whoever that hits waits for it,
and may be the one who gives a job to a worker.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from api.background import Background
from api.record.database import Database

_EVERY_S: Final = 2.0


class WriteBack(Background):
    """Empties the log from time to time; on a database that is a server there is nothing to do."""

    def __init__(self, database: Database) -> None:
        super().__init__("write-back", every_s=_EVERY_S)
        self._database = database

    @override
    def work(self) -> None:
        """One round."""
        self._database.write_back()
