"""Checkpoints that wait on this machine's disk until an artifact store elsewhere has them.

    snapshot -> here, durable -> the store, durable -> removed here

While the store is away the newest one and the best one wait: they go with the next checkpoint that is saved, or when
the job goes on here. What another machine has gone on from meanwhile is not sent any more.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import CorruptCheckpointError, StorageError, StorageFullError
from shared.storage import FolderStorage
from worker.train.checkpoint import CheckpointManifest, CheckpointStore, Snapshot, attempt_of

_FORGOTTEN_S: Final = 14 * 86_400.0
"""After so long nobody goes on with the job on this machine."""


class UnsentCheckpoints:
    """Those of one job in the folder `outbox`, on their way to `store`."""

    def __init__(self, outbox: Path, store: CheckpointStore, job_id: int) -> None:
        _forget_old(outbox)
        self._store = store
        self._here = CheckpointStore(FolderStorage(outbox), job_id)

    def save(self, snapshot: Snapshot, *, on_part: Callable[[], None]) -> CheckpointManifest:
        """Write `snapshot`, durable in the store on return. Where that fails with StorageError, it waits here."""
        try:
            self._here.save(snapshot, on_part=on_part)
        except StorageFullError:
            return self._store.save(snapshot, on_part=on_part)
        try:
            return self._store.take(self._here, snapshot.name, on_part=on_part)
        except StorageError:
            self._keep_newest_and_best()
            raise

    def send(
        self, *, all_of_them: bool = False, on_part: Callable[[], None] = lambda: None
    ) -> list[CheckpointManifest]:
        """Bring what waits into the store, oldest first: the best one, with `all_of_them` the newest too.

        Returns what came there. What is left over, or late, is removed; what fails goes on waiting.
        """
        names = self._here.names()
        if not names:
            return []
        sent: list[CheckpointManifest] = []
        with suppress(StorageError):
            newest_attempt = max(map(attempt_of, self._store.names()), default=0)
            for name in reversed(names):
                if attempt_of(name) < newest_attempt or not (all_of_them or self._is_best(name)):
                    self._here.remove(name)
                    continue
                with suppress(CorruptCheckpointError):
                    sent.append(self._store.take(self._here, name, on_part=on_part))
        return sent

    def _keep_newest_and_best(self) -> None:
        names = self._here.names()
        best = next((name for name in names if self._is_best(name)), None)
        for name in names[1:]:
            if name != best:
                self._here.remove(name)

    def _is_best(self, name: str) -> bool:
        try:
            return self._here.manifest(name).best
        except CorruptCheckpointError:
            return False


def _forget_old(outbox: Path) -> None:
    for job in outbox.glob("jobs/*"):
        newest = max((path.stat().st_mtime for path in job.rglob("*")), default=0.0)
        if time.time() - newest > _FORGOTTEN_S:
            shutil.rmtree(job, ignore_errors=True)
