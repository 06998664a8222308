"""Copies of artifacts on this machine's disk, named by their SHA-256, for stores that are elsewhere.

    <sha256>           the bytes
    <random>.part      bytes that are just coming in
    pins-<random>      names that a process uses, one a line; locked for as long as the process lives
    lock               held shared to pin a copy, exclusively to remove some

All workers of a data folder share it. Above its limit, copies that were not used for longest are removed, but none that
a living process was given within the last hour of its own running time (one that sleeps with its laptop keeps all).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from shared.errors import DamagedError
from shared.storage.base import sha256_of
from shared.storage.folder import DISK_FULL, explained

HOLD_S: Final = 3_600.0
"""How long a copy that was handed out counts as used."""
_STALE_PART_S: Final = 86_400.0


class Cache:
    """The copies in `folder`, at most `limit_bytes` of them beside those in use."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._verified: dict[str, tuple[int, int, int]] = {}
        """Copies whose hash this process has seen to be right, by file number, size and time."""
        self._pinned: dict[str, float] = {}
        """When each was handed out last, time.monotonic()."""
        self._pins: TextIO | None = None
        self._guard = threading.Lock()

    def find(self, sha256: str) -> Path | None:
        """The copy with that hash, verified, and not removed while it is used; None where there is no good one."""
        path = self._folder / sha256
        if not path.exists():
            return None
        with explained(str(path)):
            self._pin(sha256)
            try:
                mark = _mark(path)
                if self._verified.get(sha256) != mark:
                    if sha256_of(path) != sha256:
                        path.unlink()
                        return None
                    self._verified[sha256] = mark
                os.utime(path, ns=(time.time_ns(), mark[2]))
            except FileNotFoundError:
                return None
        return path

    def add(self, sha256: str, fill: Callable[[BinaryIO], object]) -> Path:
        """Keep what `fill` writes, from the start, as the copy with that hash; raises DamagedError for another one.

        Where this disk is full, what nobody uses makes room, and `fill` is called again. A store that says that it is
        full itself gains nothing by that: whatever else `fill` raises passes through.
        """
        with explained(str(self._folder / sha256)):
            try:
                return self._add(sha256, fill)
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
                self._evict(to_bytes=0)
                return self._add(sha256, fill)

    def close(self) -> None:
        """Give back what this process uses."""
        with self._guard:
            if self._pins is not None:
                self._pins.close()
            self._pins = None
            self._pinned.clear()

    def _add(self, sha256: str, fill: Callable[[BinaryIO], object]) -> Path:
        path, part = self._folder / sha256, self._folder / f"{secrets.token_hex(16)}.part"
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb+") as file:
                fill(file)
                file.flush()
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise DamagedError(f"The bytes that came for {sha256} have another hash.")
            self._pin(sha256)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._verified[sha256] = _mark(path)
        self._evict(to_bytes=self._limit_bytes)
        return path

    def _pin(self, sha256: str) -> None:
        with self._guard, self._locked(fcntl.LOCK_SH):
            now = time.monotonic()
            known = sha256 in self._pinned
            self._pinned[sha256] = now
            expired = [name for name, at in self._pinned.items() if now - at > HOLD_S]
            for name in expired:
                del self._pinned[name]
            if self._pins is None:
                pins = (self._folder / f"pins-{secrets.token_hex(8)}").open("x", encoding="ascii")
                fcntl.flock(pins, fcntl.LOCK_EX)
                self._pins = pins
            if expired:
                self._pins.seek(0)
                self._pins.truncate()
                self._pins.writelines(f"{name}\n" for name in self._pinned)
            elif not known:
                self._pins.write(f"{sha256}\n")
            self._pins.flush()

    def _evict(self, *, to_bytes: int) -> None:
        """Remove what was not used for longest until the rest fits into `to_bytes`, in use or not."""
        if not self._folder.is_dir():
            return
        with self._guard, self._locked(fcntl.LOCK_EX):
            used = set(self._pinned) | self._used_by_others()
            copies: list[tuple[int, int, Path]] = []
            for path in self._folder.iterdir():
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                if path.suffix == ".part" and time.time() - status.st_mtime > _STALE_PART_S:
                    path.unlink(missing_ok=True)
                if len(path.name) == 64:
                    copies.append((status.st_atime_ns, status.st_size, path))
            total = sum(size for _, size, _ in copies)
            for _, size, path in sorted(copies):
                if total <= to_bytes:
                    return
                if path.name not in used:
                    path.unlink(missing_ok=True)
                    self._verified.pop(path.name, None)
                    total -= size

    def _used_by_others(self) -> set[str]:
        used: set[str] = set()
        own = Path(self._pins.name) if self._pins else None
        for path in self._folder.glob("pins-*"):
            if path == own:
                continue
            with path.open(encoding="ascii") as pins:
                try:
                    fcntl.flock(pins, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    used.update(pins.read().split())
                else:
                    path.unlink(missing_ok=True)  # its process has ended
        return used

    @contextmanager
    def _locked(self, how: int) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, how)
            yield


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
