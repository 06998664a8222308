"""Disks that fill up or fail for real: a small one in memory, and one on a loop device that can be cut short.

Both need the right to mount; where the system does not give it, the test is left out with that reason, or fails where
nothing may be missing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from tests.conftest import missing

_LOOP_SET_STATUS64 = 0x4C04
_LOOP_GET_STATUS64 = 0x4C05
_STATUS_BYTES = 232
_PROBE_BYTES = 1 << 20
_SIZE_LIMIT_AT = 32
"""Offset of `lo_sizelimit` in the kernel's `struct loop_info64`."""


class SmallDisk:
    """A mounted file system whose space a test takes and gives back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all space but `leave_bytes`, and prove that no more than that is left."""
        with self._filler.open("ab", buffering=0) as filler:
            with pytest.raises(OSError, match="No space left"):
                _write_for_ever(filler)
            filler.truncate(max(0, filler.tell() - leave_bytes))
        probe = self.folder / "probe"
        with pytest.raises(OSError, match="No space left"):
            probe.write_bytes(bytes(leave_bytes + (1 << 16)))
        probe.unlink(missing_ok=True)

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink()


class LoopDisk:
    """A file system on a loop device; cut short, it answers writes beyond its new end with I/O errors."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self._device = device

    def cut(self) -> None:
        """End the device behind its tables, and prove that what is written from now on meets I/O errors.

        What pruned checkpoints left free in front of that end is too little for the probe.
        """
        os.sync()
        self._limit(_PROBE_BYTES)
        with pytest.raises(OSError, match="Input/output error"):
            self._write_probe()

    def mend(self) -> None:
        """Have it whole again, and prove it."""
        self._limit(0)
        self._write_probe()

    def _write_probe(self) -> None:
        probe = self.folder / "probe"
        with probe.open("wb") as file:
            try:
                file.write(os.urandom(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
            finally:
                probe.unlink()

    def _limit(self, size_bytes: int) -> None:
        """Size of the device; 0 for that of its file."""
        with Path(self._device).open("rb") as device:
            status = bytearray(_STATUS_BYTES)
            fcntl.ioctl(device, _LOOP_GET_STATUS64, status)
            struct.pack_into("<Q", status, _SIZE_LIMIT_AT, size_bytes)
            fcntl.ioctl(device, _LOOP_SET_STATUS64, bytes(status))


def _write_for_ever(file: FileIO) -> None:
    while True:
        file.write(bytes(1 << 16))


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[SmallDisk]:
    """A disk in memory, mounted at `folder`, which is made."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def loop_disk(folder: Path, *, size_mb: int) -> Iterator[LoopDisk]:
    """An ext4 file system in a file beside `folder`, mounted there."""
    folder.mkdir()
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    # Without a journal, whose loss would make everything read-only; with few inodes, so that data begin early.
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-b", "4096", "-N", "512", str(image))
    device = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        _run("mount", "-o", "errors=continue", device, str(folder))
        try:
            yield LoopDisk(folder, device)
        finally:
            _run("umount", "--lazy", str(folder))
    finally:
        _run("losetup", "--detach", device)


def _run(*command: str) -> str:
    """Run a program of the system, which may be absent or not allowed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        missing(f"{command[0]} is not there, so no disk of the test's own can be made.")
    if done.returncode:
        missing(f"No disk of the test's own can be made here: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
