"""Locks of the data folder: who serves which name and device. They end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import TextIO

from shared.errors import InUseError


def hold_lock(data: Path, name: str) -> TextIO:
    """Hold the lock of `name` for as long as the returned file is open; raises InUseError where somebody else does.

    The file is not inherited by child processes: when the worker is gone, its name and device are free.
    """
    lock = _open(data, name)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise InUseError(
            f"Another worker (process {holder}) already serves {name}: stop it first, or give this one a --name."
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def is_held(data: Path, name: str) -> bool:
    """Whether somebody holds the lock of `name`."""
    with _open(data, name) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _open(data: Path, name: str) -> TextIO:
    folder = data / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock").open("a+", encoding="utf-8")
