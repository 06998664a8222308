"""The artifact store: bytes under immutable keys, shared by the api and all workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from shared.storage.base import Artifact, Entry, Storage, sha256_of
from shared.storage.cache import Cache
from shared.storage.folder import FolderStorage

__all__ = ["Artifact", "Entry", "FolderStorage", "Storage", "open_storage", "sha256_of"]


def open_storage(
    url: str,
    *,
    token: str = "",
    cache: Path | None = None,
    cache_bytes: int = 20 << 30,
    on_progress: Callable[[], None] = lambda: None,
    waits: bool = False,
) -> Storage:
    """The store behind `url`: a folder's path or `file://`, the address of the api, or `s3://bucket/prefix`.

    `token` is a worker's, for the api. `cache` is a folder for copies of what is elsewhere (a temporary one by
    default), `cache_bytes` most of them; `on_progress` is called whenever bytes moved to or from another machine.
    A bucket that is away is waited for with `waits`, and else told at once; the api is waited for in any case.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https", "s3"):
        folder = cache or Path(tempfile.mkdtemp(prefix="spectrain-store-"))
        copies = Cache(folder, limit_bytes=cache_bytes)
        if scheme == "s3":
            from shared.storage.s3 import S3Storage  # noqa: PLC0415 - an optional extra

            return S3Storage(url, cache=copies, on_progress=on_progress, waits=waits)
        from shared.storage.remote import RemoteStorage  # noqa: PLC0415 - most processes need no HTTP client

        return RemoteStorage(url, token=token, cache=copies, on_progress=on_progress)
    return FolderStorage.from_url(url)
