"""How much disk what is kept takes: all of it, kind by kind, and what one job takes.

A large store takes long to walk, so its sum is remembered for a while, and measured anew beside the next request. Only
the first request waits until that is done.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

import structlog

from api.keeping.views import DiskPartView, DiskView, JobDiskView
from shared.errors import StorageError
from shared.storage import Storage

PARTS: Final = ("clips", "features", "jobs", "weights")
PATIENCE_S: Final = 1.0
"""How long a request after a deletion waits for the new sum before it is answered with the old one."""
_FRESH_S: Final = 10.0
_SHARE: Final = 50.0
"""A walk that takes long is repeated so many times less often than it takes."""

log = structlog.get_logger(__name__)


class DiskUse:
    """Measures `storage`, one walk at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._turn = threading.Lock()
        """Held while the store is walked."""
        self._changed = threading.Condition()
        self._known: DiskView | None = None
        self._took_s = 0.0
        self._deletions = 0
        self._seen = 0
        """How many deletions there had been when the walk began that `_known` is of."""

    def total(self) -> DiskView:
        """What is kept; the first request waits until it is measured, one after a deletion a moment at most."""
        with self._changed:
            known, is_stale = self._known, self._is_stale()
        if known is None:
            with self._turn:
                return self._known or self._measure()
        age_s = time.time() - known.measured_at
        if (is_stale or age_s > max(_FRESH_S, _SHARE * self._took_s)) and self._turn.acquire(blocking=False):
            threading.Thread(target=self._measure_beside, name="disk-use", daemon=True).start()
        if is_stale:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_stale(), PATIENCE_S)
                known = self._known or known
        return known.model_copy(update={"free_bytes": self._storage.free_bytes()})

    def forget(self) -> None:
        """Something large went: measure anew at the next request."""
        with self._changed:
            self._deletions += 1

    def of_job(self, job_id: int) -> JobDiskView:
        """What a job takes."""
        sizes = Counter[str]()
        for entry in self._storage.entries(f"jobs/{job_id}"):
            part = entry.key.split("/")[2]
            sizes["checkpoints" if part == "pinned" else part] += entry.size_bytes
        return JobDiskView(
            checkpoints_bytes=sizes["checkpoints"], previews_bytes=sizes["previews"], size_bytes=sizes.total()
        )

    def _is_stale(self) -> bool:
        return self._seen != self._deletions

    def _measure_beside(self) -> None:
        """Measure for whoever took the turn."""
        try:
            self._measure()
        except StorageError as error:
            log.warning("disk_use.unknown", error=str(error))
        finally:
            self._turn.release()

    def _measure(self) -> DiskView:
        before, started, at = self._deletions, time.monotonic(), time.time()
        parts: list[DiskPartView] = []
        for name in PARTS:
            entries = list(self._storage.entries(name))
            parts.append(
                DiskPartView(name=name, size_bytes=sum(each.size_bytes for each in entries), files=len(entries))
            )
        known = DiskView(
            parts=parts,
            size_bytes=sum(part.size_bytes for part in parts),
            free_bytes=self._storage.free_bytes(),
            measured_at=at,
        )
        with self._changed:
            self._known, self._seen, self._took_s = known, before, time.monotonic() - started
            self._changed.notify_all()
        return known
