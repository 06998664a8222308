"""Artifacts in a bucket of S3, or of anything that speaks its protocol.

Credentials, region and endpoint come from the usual AWS_* variables (AWS_ENDPOINT_URL for a server that is not
Amazon's). An object appears whole or not at all by S3's own rules; large ones travel in parts. The SHA-256 is kept in
the object's metadata, and what was put into the bucket by other means is read once to learn it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

from typing_extensions import override

from shared.errors import NotFoundError, StorageAwayError, StorageError
from shared.storage.base import Artifact, Entry, check_key, hash_in_name
from shared.storage.cache import Cache
from shared.storage.distant import CHUNK_BYTES, DistantStorage
from shared.storage.patience import Patience

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise StorageError(
        f"An artifact store at s3:// needs the package obstore: `{sys.executable} -m pip install obstore`."
    ) from error

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_HASH: Final = "sha256"
"""Name of the hash in an object's metadata."""
_PART_BYTES: Final = 8 << 20
_RETRY: Final[RetryConfig] = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""What the library tries again by itself: the hiccups. What lasts longer is waited for here, or told."""
_AWAY: Final = re.compile(r", after \d+ retries|HTTP error: ")
"""What was tried again, and a broken connection, is an outage. No class tells it from a refusal: the sentence does."""
_METADATA: Final = "169.254.169.254"
"""Where machines of Amazon's keep credentials: asked where there are none."""
_T = TypeVar("_T")


class S3Storage(DistantStorage):
    """The store under `s3://bucket/prefix`; one that is away is waited for with `waits`, and else told."""

    def __init__(self, url: str, *, cache: Cache, on_progress: Callable[[], None], waits: bool = False) -> None:
        super().__init__(cache, on_progress)
        self._url = url
        self._waits = waits
        parts = urlsplit(url)
        if not parts.netloc:
            raise StorageError(f"{url} names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX.")
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        try:
            self._store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={"allow_http": plain},
                retry_config=_RETRY,
            )
        except BaseError as error:
            raise self._explained(url, error) from error

    @override
    def stat(self, key: str) -> Artifact:
        def look() -> Artifact:
            found = obstore.get(self._store, check_key(key), options={"head": True})
            sha256 = found.attributes.get(_HASH) or hash_in_name(key)
            return Artifact(sha256=sha256 or self._fetch(key, io.BytesIO()), size_bytes=found.meta["size"])

        return self._ask(key, look)

    @override
    def copy(self, source: str, target: str) -> None:
        # Its metadata, and so its hash, goes along.
        self._ask(source, lambda: obstore.copy(self._store, check_key(source), check_key(target)))

    @override
    def names(self, prefix: str) -> list[str]:
        folder = f"{check_key(prefix)}/"
        found = self._ask(prefix, lambda: obstore.list_with_delimiter(self._store, folder))
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})

    @override
    def entries(self, prefix: str) -> Iterator[Entry]:
        batches = obstore.list(self._store, f"{check_key(prefix)}/")
        while (batch := self._ask(prefix, lambda: next(batches, None))) is not None:
            for each in batch:
                changed_at = each["last_modified"].timestamp()
                yield Entry(key=each["path"], size_bytes=each["size"], changed_at=changed_at)

    @override
    def delete(self, prefix: str) -> None:
        def remove() -> None:
            # The store lists nothing for a prefix that is an object's whole name.
            paths = [check_key(prefix)]
            for batch in obstore.list(self._store, f"{prefix}/"):
                paths += [each["path"] for each in batch]
            obstore.delete(self._store, paths)

        with suppress(NotFoundError):
            self._ask(prefix, remove)

    @override
    def free_bytes(self) -> int | None:
        return None

    @override
    def _put(self, key: str, source: BinaryIO, artifact: Artifact) -> None:
        start, attributes = source.tell(), {_HASH: artifact.sha256}

        def send() -> None:
            source.seek(start)
            if artifact.size_bytes <= _PART_BYTES:
                obstore.put(self._store, key, source.read(), attributes=attributes, use_multipart=False)
                self._on_progress()
            else:
                obstore.put(self._store, key, self._chunks(source), attributes=attributes, chunk_size=_PART_BYTES)

        self._ask(key, send)

    @override
    def _fetch(self, key: str, target: BinaryIO) -> str:
        def receive() -> str:
            target.seek(0)
            target.truncate()
            digest = hashlib.sha256()
            found = obstore.get(self._store, key)
            for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                target.write(chunk)
                digest.update(chunk)
                self._on_progress()
            return found.attributes.get(_HASH) or hash_in_name(key) or digest.hexdigest()

        return self._ask(key, receive)

    def _ask(self, key: str, work: Callable[[], _T]) -> _T:
        """What `work` comes to, once the store is there."""
        patience = Patience.for_key(key)
        while True:
            try:
                return work()
            except (BaseError, FileNotFoundError) as error:
                told = self._explained(key, error)
                if not (self._waits and isinstance(told, StorageAwayError) and patience.wait()):
                    raise told from error

    def _chunks(self, source: BinaryIO) -> Iterator[bytes]:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
            self._on_progress()

    def _explained(self, key: str, error: Exception) -> StorageError | NotFoundError:
        if isinstance(error, FileNotFoundError):
            return NotFoundError(f"The artifact store holds nothing under {key}.")
        said = str(error).splitlines()[0]
        reason = said[:300]
        if _METADATA in said:
            return StorageError(
                f"There are no credentials for the artifact store at {self._url}: set AWS_ACCESS_KEY_ID and"
                f" AWS_SECRET_ACCESS_KEY ({reason})."
            )
        if _AWAY.search(said):
            return StorageAwayError(
                f"The artifact store at {self._url} is away, so {key} has to wait: see whether it runs and this machine"
                f" reaches it ({reason})."
            )
        return StorageError(f"The artifact store at {self._url} failed at {key}: {reason}")
