"""What all stores on other machines have in common: files come through the cache, bytes are verified by their hash."""

from __future__ import annotations

import hashlib
import io
import shutil
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from typing_extensions import override

from shared.errors import DamagedError, NotFoundError, StorageFullError
from shared.storage.base import Artifact, Storage, check_key, hash_in_name
from shared.storage.cache import Cache
from shared.storage.folder import explained

CHUNK_BYTES: Final = 1 << 18
"""Bytes that move between two signs of progress."""
_FETCHES: Final = 3
"""A key may be written anew while it is read."""


class DistantStorage(Storage):
    """A store behind a network. `on_progress` is called from any thread whenever bytes moved."""

    def __init__(self, cache: Cache, on_progress: Callable[[], None]) -> None:
        self._cache = cache
        self._on_progress = on_progress

    def close(self) -> None:
        """Give back what this process holds: connections, and copies that it used."""
        self._cache.close()

    @override
    def write(self, key: str, data: bytes) -> None:
        self._put(check_key(key), io.BytesIO(data), Artifact(sha256=_hash(data), size_bytes=len(data)))

    @override
    def write_file(self, key: str, path: Path) -> None:
        with explained(key), path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            artifact = Artifact(sha256=sha256, size_bytes=file.tell())
            if hash_in_name(check_key(key)) == sha256:
                # Whoever made features reads them next. That is no reason to fail where this disk is full.
                with suppress(StorageFullError):
                    self._cache.add(sha256, lambda copy: _copy(file, copy))
            file.seek(0)
            self._put(key, file, artifact)

    @override
    def move_file(self, key: str, path: Path) -> None:
        self.write_file(key, path)

    @override
    def read(self, key: str) -> bytes:
        if hash_in_name(check_key(key)):
            return self.file(key).read_bytes()
        for _ in range(_FETCHES):
            data = io.BytesIO()
            wanted = self._fetch(key, data)
            if _hash(data.getvalue()) == wanted:
                return data.getvalue()
        raise _damaged(key)

    @override
    def file(self, key: str) -> Path:
        named = hash_in_name(check_key(key))
        for _ in range(_FETCHES):
            sha256 = named or self.stat(key).sha256
            try:
                return self._cache.find(sha256) or self._cache.add(sha256, lambda file: self._fetch(key, file))
            except DamagedError:
                continue
        raise _damaged(key)

    @override
    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    @abstractmethod
    def _put(self, key: str, source: BinaryIO, artifact: Artifact) -> None:
        """Put what `source` holds, from its position on, under `key`, durable on return."""

    @abstractmethod
    def _fetch(self, key: str, target: BinaryIO) -> str:
        """Write the bytes under `key` to `target`, a new file; returns the hash that the store has for them.

        Raises NotFoundError.
        """


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target, CHUNK_BYTES)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(key: str) -> DamagedError:
    return DamagedError(f"The artifact store has damaged bytes under {key}: they do not have their hash.")
