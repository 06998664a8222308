"""How much disk sounds may take: in one dataset, and with all else that is kept. Asked before anything is stored.

What jobs make counts in the whole, but is never refused: a training that cannot save would lose more than disk.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from shared.errors import StorageFullError

_GB: Final = 1e9


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the artifact store takes."""

    size_bytes: int
    at: float
    """When that was measured, seconds since 1970."""


class Quotas:
    """What may still come. Threads share it: what one has been promised, no other one gets."""

    def __init__(
        self,
        *,
        each: int | None,
        whole: int | None,
        taken: Callable[[int], int],
        measure: Callable[[], Measured],
    ) -> None:
        """`each` dataset may have so many bytes, the `whole` store so many; None for as many as there are.

        `taken` tells how many a dataset has.
        """
        self._each = each
        self._whole = whole
        self._taken = taken
        self._measure = measure
        self._promised = Counter[int]()
        self._stored: list[tuple[float, int]] = []
        """When, and how much, came into the store that a measurement may not have seen."""
        self._lock = threading.Lock()

    def check_room(self, dataset_id: int) -> None:
        """Raise StorageFullError where nothing more fits, however small."""
        with self._lock:
            left, where = self._left(dataset_id)
        if left is not None and left <= 0:
            raise StorageFullError(f"{where} may not take more disk: delete something, or ask for a larger quota.")

    def refusal(self, dataset_id: int, size_bytes: int) -> str:
        """Why so many bytes may not be added, in one sentence; empty where they may, which is a promise."""
        with self._lock:
            left, where = self._left(dataset_id)
            if left is not None and size_bytes > left:
                return f"It does not fit: {where} has {max(0, left) / _GB:,.2f} GB left."
            self._promised[dataset_id] += size_bytes
        return ""

    def added(self, dataset_id: int, size_bytes: int) -> None:
        """What was promised is in the record, or will not come."""
        with self._lock:
            self._promised[dataset_id] -= size_bytes
            if not self._promised[dataset_id]:
                del self._promised[dataset_id]
            if self._whole is not None:
                self._stored.append((time.time(), size_bytes))

    @contextmanager
    def model(self, size_bytes: int) -> Generator[None]:
        """While a model of so many bytes comes in; raises StorageFullError where it does not fit."""
        refused = self.refusal(_NO_DATASET, size_bytes)
        if refused:
            raise StorageFullError(refused)
        try:
            yield
        finally:
            self.added(_NO_DATASET, size_bytes)

    def _left(self, dataset_id: int) -> tuple[int | None, str]:
        """Bytes that may come, None for any number, and what is nearest to its limit."""
        left: int | None = None
        where = ""
        if self._each is not None and dataset_id != _NO_DATASET:
            left, where = self._each - self._taken(dataset_id) - self._promised[dataset_id], "the dataset"
        if self._whole is not None:
            measured = self._measure()
            self._stored = [each for each in self._stored if each[0] >= measured.at]
            room = self._whole - measured.size_bytes - sum(size for _, size in self._stored) - self._promised.total()
            if left is None or room < left:
                left, where = room, "the whole installation"
        return left, where


_NO_DATASET: Final = 0
