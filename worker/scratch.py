"""Where a trainer makes what is too large for memory: a folder of its own, which goes with it.

A trainer that is killed leaves its folder behind. While it lives it holds a lock on it, so a folder without one is
nobody's, however long ago it was changed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "spectrain-features-"
_FRESH_S: Final = 60.0
"""One that was just made may not be locked yet."""


@contextmanager
def scratch_folder() -> Generator[Path]:
    """A new folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_roomy()))
    lock = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's folder that cannot be locked is left alone by whoever sweeps, too
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_scratch() -> threading.Thread:
    """Remove what killed trainers left on this machine; on a thread of its own, since it may be gigabytes."""
    thread = threading.Thread(target=_sweep, name="scratch", daemon=True)
    thread.start()
    return thread


def _sweep() -> None:
    for folder in Path(_roomy() or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or just removed
            if time.time() - folder.lstat().st_mtime > _FRESH_S:
                _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    """Raises OSError for one that is held, or is no folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _roomy() -> str | None:
    """Where large temporary files belong: what TMPDIR says, else /var/tmp, since /tmp is memory on many systems."""
    roomy = "/var/tmp"  # noqa: S108 - what is made in it is a folder of our own
    return roomy if "TMPDIR" not in os.environ and os.access(roomy, os.W_OK) else None
