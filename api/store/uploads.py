"""Uploads of artifacts that go on where they stopped.

    parts at offsets -> <key>~<sha256>.part -> all there, hash verified -> the artifact store

What arrived of a part is kept even where its connection broke in the middle. An upload is known by its key and the
hash of the whole, so a client that lost its connection, or its life, asks how far it came and goes on. One connection
feeds an upload at a time; one that fell silent is replaced by the next, as a half-open one would never end by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from api.store.access import is_immutable
from api.store.views import StoreUploadView
from shared.errors import ConfigError, NameTakenError, NotFoundError, StorageFullError
from shared.storage import Storage, sha256_of
from shared.storage.folder import explained

MAX_BYTES: Final = 16 << 30
"""Largest artifact."""
MAX_PART_BYTES: Final = 64 << 20
"""Most that one request may bring."""
ABANDONED_S: Final = 86_400.0
"""An upload that nothing came of for so long is removed."""
_SWEEP_EVERY_S: Final = 3_600.0
_SILENT_S: Final = 5.0
"""A connection that brought nothing for so long gives way to the next."""
_CHUNK_BYTES: Final = 1 << 18
_SPARE_BYTES: Final = 32 << 20
"""Disk that is left for the record."""


@dataclass
class _Turn:
    """One connection's right to feed an upload."""

    moved_at: float
    finishing: bool = False
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class ArtifactUploads:
    """All unfinished uploads, one file each in `folder`; finished ones are in `storage`."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        self._storage = storage
        self._folder = folder
        self._turns: dict[Path, _Turn] = {}
        self._lock = threading.Lock()
        self._swept_at = -_SWEEP_EVERY_S
        self._keys = tuple(threading.Lock() for _ in range(64))
        """Held while something is put under a key, by the key's hash."""

    def state(self, key: str, sha256: str, size: int) -> StoreUploadView:
        """How far the upload is. Raises what would refuse it in the end: another content there, no space left."""
        if size > MAX_BYTES:
            raise ConfigError(f"An artifact has at most {MAX_BYTES >> 30} GiB.", field="size")
        if self._is_there(key, sha256):
            return StoreUploadView(received=size, done=True)
        self._sweep()
        part = self._part(key, sha256)
        try:
            received = part.stat().st_size
        except FileNotFoundError:
            received = 0
        free = self._storage.free_bytes()
        if free is not None and size - received + _SPARE_BYTES > free:
            raise StorageFullError(f"The artifact store has too little space for {key}: free some.")
        with self._lock:
            turn = self._turns.get(part)
        return StoreUploadView(received=received, busy=turn is not None and _is_fresh(turn))

    def receive(self, key: str, sha256: str, size: int, offset: int, stream: IO[bytes]) -> StoreUploadView:
        """Add what `stream` brings from `offset` on; returns how far the upload is then.

        Nothing is added where the upload is elsewhere, or where another connection feeds it. The answer to the last
        part comes when the artifact is durable under its key. Raises ConfigError where the whole does not have the
        hash, StorageFullError, NameTakenError; what `stream` raises passes through.
        """
        state = self.state(key, sha256, size)
        if state.done or state.busy or state.received != offset:
            return state
        part = self._part(key, sha256)
        with self._turn(part) as turn:
            received = None if turn is None else self._append(part, stream, turn, offset=offset, size=size, key=key)
            if turn is None or received is None:
                return self.state(key, sha256, size)
            if received < size:
                return StoreUploadView(received=received)
            turn.finishing = True
            self._finish(key, sha256, part)
        return StoreUploadView(received=size, done=True)

    def forget(self, prefix: str) -> None:
        """Remove unfinished uploads to `prefix` and below."""
        for part in self._folder.glob(f"{_flat(prefix)}~*.part"):
            part.unlink(missing_ok=True)

    def _append(self, part: Path, stream: IO[bytes], turn: _Turn, *, offset: int, size: int, key: str) -> int | None:
        """Bytes that are there afterwards; None where another connection took over or came first."""
        with explained(key):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = part.open("ab", buffering=0)
        with file:
            if file.tell() != offset:
                return None
            while chunk := stream.read(_CHUNK_BYTES):
                with turn.lock:
                    if turn.over:
                        return None
                    if file.tell() + len(chunk) > size:
                        raise ConfigError("More bytes came than were announced: announce all of them.", field="size")
                    try:
                        with explained(key):
                            file.write(chunk)
                    except StorageFullError:
                        part.unlink(missing_ok=True)  # what cannot be finished takes no space
                        raise
                    turn.moved_at = time.monotonic()
            return file.tell()

    def _finish(self, key: str, sha256: str, part: Path) -> None:
        with explained(key):
            actual = sha256_of(part)
        if actual != sha256:
            part.unlink(missing_ok=True)
            raise ConfigError(f"The bytes of {key} do not have the hash that was announced: send them again.")
        with self._keys[hash(key) % len(self._keys)]:
            if not self._is_there(key, sha256):
                self._storage.move_file(key, part)
        part.unlink(missing_ok=True)

    def _is_there(self, key: str, sha256: str) -> bool:
        """Whether the very content is there; raises NameTakenError where other content is and has to stay."""
        try:
            if self._storage.stat(key).sha256 == sha256:
                return True
        except NotFoundError:
            return False
        if is_immutable(key):
            raise NameTakenError(f"{key} has other content, which never changes: choose another name.")
        return False

    @contextmanager
    def _turn(self, part: Path) -> Generator[_Turn | None]:
        """The right to feed an upload; None while another connection does."""
        turn = _Turn(time.monotonic())
        with self._lock:
            before = self._turns.get(part)
            refused = before is not None and _is_fresh(before)
            if not refused:
                self._turns[part] = turn
        if refused:
            yield None
            return
        if before is not None:
            with before.lock:
                before.over = True
        try:
            yield turn
        finally:
            with self._lock:
                if self._turns.get(part) is turn:
                    del self._turns[part]

    def _sweep(self) -> None:
        """Remove abandoned uploads, at most once an hour."""
        now = time.monotonic()
        with self._lock:
            if now - self._swept_at < _SWEEP_EVERY_S:
                return
            self._swept_at = now
        for part in self._folder.glob("*.part"):
            try:
                if time.time() - part.stat().st_mtime > ABANDONED_S:
                    part.unlink()
            except FileNotFoundError:
                continue  # it was finished meanwhile

    def _part(self, key: str, sha256: str) -> Path:
        return self._folder / f"{_flat(key)}~{sha256}.part"


def _is_fresh(turn: _Turn) -> bool:
    return turn.finishing or time.monotonic() - turn.moved_at < _SILENT_S


def _flat(key: str) -> str:
    """A key as a name of a file; keys have no `~`."""
    return key.replace("/", "~")
