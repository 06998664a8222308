"""How much disk what is kept takes: all of it, kind by kind, and what one job takes.

A large store takes long to walk, so its sum is remembered for a while, and measured anew beside the next request.
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
_FRESH_S: Final = 10.0
_SHARE: Final = 50.0
"""A walk that takes long is repeated so many times less often than it takes."""

log = structlog.get_logger(__name__)


class DiskUse:
    """Measures `storage`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._known: DiskView | None = None
        self._took_s = 0.0
        self._measuring = False

    def total(self) -> DiskView:
        """What is kept; the first request waits until it is measured."""
        with self._lock:
            known = self._known
            if known is None:
                return self._measure()
            age_s = time.time() - known.measured_at
            if age_s > max(_FRESH_S, _SHARE * self._took_s) and not self._measuring:
                self._measuring = True
                threading.Thread(target=self._measure_beside, name="disk-use", daemon=True).start()
        return known.model_copy(update={"free_bytes": self._storage.free_bytes()})

    def forget(self) -> None:
        """Something large went: measure anew at the next request."""
        with self._lock:
            self._known = None

    def of_job(self, job_id: int) -> JobDiskView:
        """What a job takes."""
        sizes = Counter[str]()
        for entry in self._storage.entries(f"jobs/{job_id}"):
            part = entry.key.split("/")[2]
            sizes["checkpoints" if part == "pinned" else part] += entry.size_bytes
        return JobDiskView(
            checkpoints_bytes=sizes["checkpoints"], previews_bytes=sizes["previews"], size_bytes=sizes.total()
        )

    def _measure_beside(self) -> None:
        try:
            known = self._measured()
        except StorageError as error:
            log.warning("disk_use.unknown", error=str(error))
        else:
            with self._lock:
                self._known = known
        finally:
            self._measuring = False

    def _measure(self) -> DiskView:
        self._known = self._measured()
        return self._known

    def _measured(self) -> DiskView:
        started = time.monotonic()
        parts: list[DiskPartView] = []
        for name in PARTS:
            entries = list(self._storage.entries(name))
            parts.append(
                DiskPartView(name=name, size_bytes=sum(each.size_bytes for each in entries), files=len(entries))
            )
        self._took_s = time.monotonic() - started
        return DiskView(
            parts=parts,
            size_bytes=sum(part.size_bytes for part in parts),
            free_bytes=self._storage.free_bytes(),
            measured_at=time.time(),
        )
