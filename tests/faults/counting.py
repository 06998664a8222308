"""How long things may take with the short lease of these tests, and the count of what was injected and what held."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

LEASE_S = 2.0
"""How long a worker that went silent keeps its job, here."""
REAPER_S = 5.0
"""How long the scheduler may take to notice that a lease lapsed."""
LAPSE_S = LEASE_S + REAPER_S + 8.0
"""A job whose worker went silent is at work elsewhere after so long."""


@dataclass(kw_only=True)
class Fault:
    """Counts what a test injected and what held; several threads may count."""

    row: int
    what: str
    injected_count: int = 0
    held_count: int = 0
    seconds: float = 0.0
    measured: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def injected(self, times: int = 1) -> None:
        """The fault happened: call it after having asserted just that."""
        with self._lock:
            self.injected_count += times

    def held(self, times: int = 1) -> None:
        """The system held: call it after having asserted just that."""
        with self._lock:
            self.held_count += times

    def note(self, measured: str) -> None:
        """Add a figure to the table, such as "slowest 4.1 s"."""
        self.measured.append(measured)

    def check(self) -> None:
        """A test that injected nothing, or lost count, proved nothing."""
        assert self.injected_count, f"row {self.row}: the fault was never injected"
        assert self.held_count == self.injected_count, (
            f"row {self.row}: {self.held_count} of {self.injected_count} held"
        )
