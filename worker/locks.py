"""Locks of the data folder: who serves which name and device. They end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from shared.errors import InUseError

_TRIES: Final = 5
"""Whoever looks whether a lock is held, holds it for a moment."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A worker that runs."""

    pid: int
    device: str


def hold_lock(data: Path, name: str, device: str) -> TextIO:
    """Hold the lock of `name` for as long as the returned file is open; raises InUseError where somebody else does.

    The file is not inherited by child processes: when the worker is gone, its name and device are free.
    """
    lock = _open(data, name)
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if left:
                time.sleep(0.02)
                continue
            lock.seek(0)
            pid = lock.read().partition(" ")[0]
            lock.close()
            raise InUseError(
                f"Another worker (process {pid}) already serves {name}: stop it first, or give this one a --name."
            ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()} {device}")
    lock.flush()
    return lock


def is_held(data: Path, name: str) -> bool:
    """Whether somebody holds the lock of `name`."""
    with _open(data, name) as lock:
        return _holder(lock) is not None


def holders(data: Path) -> list[Holder]:
    """Who runs on the data folder, each once."""
    found: set[Holder] = set()
    for path in (data / "locks").glob("*.lock"):
        try:
            with path.open(encoding="utf-8") as lock:
                holder = _holder(lock)
        except OSError:
            continue  # another user's
        if holder is not None:
            found.add(holder)
    return sorted(found, key=lambda holder: holder.pid)


def _holder(lock: TextIO) -> Holder | None:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        pid, _, device = lock.read().partition(" ")
        return Holder(pid=int(pid) if pid.isdecimal() else 0, device=device)
    return None


def _open(data: Path, name: str) -> TextIO:
    folder = data / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock").open("a+", encoding="utf-8")
