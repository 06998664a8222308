"""Artifacts in a folder of this machine, or of one that all machines mount.

A write goes to a temporary file beside its target, is flushed to the disk, renamed, and the folder's entry is
flushed too: after a power cut a key holds the old bytes, the new ones or nothing, never a part.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from shared.errors import NotFoundError, StorageError, StorageFullError
from shared.storage.base import Artifact, Entry, Storage, check_key

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the system's errors that mean that."""
_TEMPORARY: Final = ".tmp-"
_STALE_S: Final = 86_400.0
_HASHES_KEPT: Final = 10_000


class FolderStorage(Storage):
    """A store in the folder `root`, which is made where it does not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._hashes: dict[Path, tuple[tuple[int, int, int], str]] = {}
        """What was read once, by what tells that a file was replaced: its number, size and time."""
        with explained(str(root)):
            self.root.mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_url(cls, url: str) -> FolderStorage:
        """From a path or a `file://` URL; raises StorageError for any other scheme."""
        parts = urlsplit(url)
        if parts.scheme in ("", "file"):
            return cls(Path(unquote(parts.path)) if parts.scheme else Path(url))
        raise StorageError(f"The artifact store {parts.scheme}:// is not known; give the path of a folder.")

    @override
    def write(self, key: str, data: bytes) -> None:
        self._put(key, lambda file: file.write(data))

    @override
    def write_file(self, key: str, path: Path) -> None:
        with explained(key), path.open("rb") as source:
            self._put(key, lambda file: shutil.copyfileobj(source, file, 1 << 20))

    @override
    def move_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        with explained(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            else:
                fsync_folder(target.parent)
                return
        self.write_file(key, path)

    @override
    def copy(self, source: str, target: str) -> None:
        path = self._path(target)
        with explained(target):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
            try:
                # What was written never changes in its place, so a second name for it takes no space.
                temporary.hardlink_to(self.file(source))
                temporary.replace(path)
                fsync_folder(path.parent)
            except OSError as error:
                if error.errno in (errno.ENOENT, *DISK_FULL):
                    raise
            else:
                return
            finally:
                temporary.unlink(missing_ok=True)
        self.write_file(target, self.file(source))

    @override
    def read(self, key: str) -> bytes:
        with explained(key):
            return self.file(key).read_bytes()

    @override
    def file(self, key: str) -> Path:
        if not self.exists(key):
            raise NotFoundError(f"The artifact store holds nothing under {key}.")
        return self._path(key)

    @override
    def exists(self, key: str) -> bool:
        with explained(key):
            return self._path(key).is_file()

    @override
    def stat(self, key: str) -> Artifact:
        path = self.file(key)
        with explained(key), path.open("rb") as file:
            status = os.fstat(file.fileno())
            mark = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._hashes.get(path)
            if known is None or known[0] != mark:
                if len(self._hashes) >= _HASHES_KEPT:
                    self._hashes.clear()
                known = self._hashes[path] = (mark, hashlib.file_digest(file, "sha256").hexdigest())
        return Artifact(sha256=known[1], size_bytes=status.st_size)

    @override
    def names(self, prefix: str) -> list[str]:
        folder = self._path(prefix)
        with explained(prefix):
            if not folder.is_dir():
                return []
            return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(_TEMPORARY))

    @override
    def entries(self, prefix: str) -> Iterator[Entry]:
        seen = set[tuple[int, int]]()
        for place, folders, files in os.walk(self._path(prefix)):
            folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]
            for name in files:
                path = Path(place) / name
                if name.startswith(_TEMPORARY):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # removed meanwhile
                one = (status.st_dev, status.st_ino)
                size_bytes = 0 if one in seen else status.st_size
                if status.st_nlink > 1:
                    seen.add(one)
                key = path.relative_to(self.root).as_posix()
                yield Entry(key=key, size_bytes=size_bytes, changed_at=max(status.st_mtime, status.st_ctime))

    @override
    def delete(self, prefix: str) -> None:
        path = self._path(prefix)
        with explained(prefix):
            if path.is_dir():
                # Renamed first, so that a reader sees the folder whole or not at all.
                doomed = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
                try:
                    path.rename(doomed)
                except FileNotFoundError:
                    return  # somebody else deletes it at this moment
                shutil.rmtree(doomed)
            else:
                path.unlink(missing_ok=True)

    @override
    def free_bytes(self) -> int | None:
        with explained(str(self.root)):
            return shutil.disk_usage(self.root).free

    def sweep(self, *, older_than_s: float = _STALE_S) -> None:
        """Remove what processes left that were killed while they wrote or deleted; takes long in a large store."""
        for path in self.stale(older_than_s=older_than_s):
            remove_stale(path)

    def stale(self, *, older_than_s: float = _STALE_S) -> Iterator[Path]:
        """Files and folders that such processes left."""
        for place, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(place) / name
                if not name.startswith(_TEMPORARY):
                    continue
                with suppress(OSError):
                    # A folder that is to be deleted was renamed, which leaves it the time of its last change.
                    if time.time() - path.lstat().st_ctime >= older_than_s:
                        yield path
            folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _put(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        path = self._path(key)
        with explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                fsync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)


def remove_stale(path: Path) -> None:
    """Remove what `FolderStorage.stale` found; what is gone, or not ours to remove, is no error."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def fsync_folder(path: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(key: str) -> Generator[None]:
    """Turn the system's errors at `key` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFullError(f"The disk is full, so {key} was not written: free some space.") from error
        raise StorageError(f"The artifact store failed at {key}: {error.strerror or error}.") from error
