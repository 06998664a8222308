"""Stopping what the launcher started, in order: workers, so that they save and hand back; api; Redis last.

Works on entries of the data folder instead of child processes, so that it also serves when the launcher was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from deploy.data_folder import ProcessEntry
from shared.settings import Settings

STOP_ORDER: Final = ("worker", "api", "redis")
STOP_LIMIT_S: Final = 15.0
"""Seconds that a process may take to stop."""
_KILL_LIMIT_S: Final = 10.0
"""Only a process that waits for a broken disk needs longer to die."""
_LOOK_EVERY_S: Final = 0.05


def stop_in_order(
    entries: Sequence[ProcessEntry],
    *,
    say: Callable[[str], None],
    hurry: Callable[[], bool] = lambda: False,
) -> None:
    """Return once all processes of `entries` are gone.

    Each gets SIGTERM and its role's time; whoever still lives then, or once `hurry` says so, is killed with its group.
    """
    for role in STOP_ORDER:
        ours = [entry for entry in entries if entry.role == role and entry.alive()]
        for entry in ours:
            _signal(entry, signal.SIGTERM)
        if not _gone(ours, within_s=_limit_s(role), hurry=hurry):
            for entry in ours:
                _kill(entry, say)
            _gone(ours, within_s=_KILL_LIMIT_S)


def longest_stop_s() -> float:
    """After so many seconds `stop_in_order` has returned in any case."""
    return sum(_limit_s(role) + _KILL_LIMIT_S for role in STOP_ORDER)


def _limit_s(role: str) -> float:
    # A worker's supervisor waits for a trainer that is still saving, and then has to tell of it.
    return STOP_LIMIT_S + (Settings().save_limit_s if role == "worker" else 0.0)


def _gone(entries: Sequence[ProcessEntry], *, within_s: float, hurry: Callable[[], bool] = lambda: False) -> bool:
    """Wait until all are gone; False when time, or patience, ended first."""
    deadline = time.monotonic() + within_s
    while any(entry.alive() for entry in entries):
        if hurry() or time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _kill(entry: ProcessEntry, say: Callable[[str], None]) -> None:
    if entry.alive():
        say(f"Killing {entry.name}.")
        try:
            os.killpg(entry.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            _signal(entry, signal.SIGKILL)


def _signal(entry: ProcessEntry, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may end by itself between looking and asking
        os.kill(entry.pid, number)
