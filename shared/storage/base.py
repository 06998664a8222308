"""The interface of an artifact store.

Keys are relative paths of letters, digits and `._-` separated by `/`: ids and hashes of ours, never a name
that somebody typed. What is written under a key is complete and durable or not there at all.

    clips/<sha256>                                      the bytes of an uploaded file
    features/<key>/{<sha256>.safetensors,manifest.json} what a preprocess job made
    jobs/<id>/checkpoints/<attempt>-<step>/...          weights, state, manifest
    jobs/<id>/pinned/<attempt>-<step>/...               the api's own copy of a checkpoint that a person pinned
    jobs/<id>/previews/<attempt>-<step>/*.wav           16-bit audio
    weights/<sha256>.safetensors                        what trainings start from, kept for them
    installation.json                                   the id of the record that the store belongs to
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from shared.errors import StorageError

MAX_KEY: Final = 180
"""Longest key: short enough for a whole one to be the name of a file."""
_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_NAMED_BY_CONTENT: Final = re.compile(r"(?:clips|weights|features/[^/]+)/([0-9a-f]{64})(?:\.[a-z]+)?")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What is under a key."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the store, as a listing has it."""

    key: str
    size_bytes: int
    """Space that it takes; 0 for a second name of bytes that were listed before."""
    changed_at: float | None
    """Seconds since 1970; None where the store does not tell."""


def check_key(key: str) -> str:
    """`key` itself; raises StorageError for one that could leave the store or name a hidden file."""
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise StorageError(f"{key[:MAX_KEY]!r} is not a key of the artifact store.")
    return key


def hash_in_name(key: str) -> str:
    """The SHA-256 that `key` names its content by; empty for a key that does not."""
    match = _NAMED_BY_CONTENT.fullmatch(key)
    return match[1] if match else ""


def sha256_of(path: Path) -> str:
    """SHA-256 of the file at `path`, read in pieces; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Storage(Protocol):
    """Bytes under keys. Every method raises StorageError where the store fails, StorageFullError where it is full."""

    def write(self, key: str, data: bytes) -> None:
        """Put `data` under `key`, durable on return; replaces what was there."""
        ...

    def write_file(self, key: str, path: Path) -> None:
        """Put a copy of the file at `path` under `key`, durable on return."""
        ...

    def move_file(self, key: str, path: Path) -> None:
        """`write_file` of a file that nobody needs afterwards: it may be gone then."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Put what is under `source` under `target`, too, durable on return; raises NotFoundError."""
        self.write_file(target, self.file(source))

    def read(self, key: str) -> bytes:
        """The bytes under `key`; raises NotFoundError where there are none."""
        ...

    def file(self, key: str) -> Path:
        """A local file with the bytes under `key`, to be read only; raises NotFoundError."""
        ...

    def exists(self, key: str) -> bool:
        """Whether something is under `key`."""
        ...

    def stat(self, key: str) -> Artifact:
        """Hash and size of what is under `key`, however it is named; raises NotFoundError."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Names directly under the folder `prefix`, sorted; empty where there is no such folder."""
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Everything under the folder `prefix`, however deep, in no order."""
        for name in self.names(prefix):
            key = f"{prefix}/{name}"
            if self.exists(key):
                yield Entry(key=key, size_bytes=self.stat(key).size_bytes, changed_at=None)
            else:
                yield from self.entries(key)

    def delete(self, prefix: str) -> None:
        """Remove the key, or everything under the folder `prefix`; nothing there is no error."""
        ...

    def free_bytes(self) -> int | None:
        """Space left, or None where the store does not tell."""
        ...
