"""Full disks around a store that is elsewhere: the server's, told as the server's, and this machine's."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from shared.errors import StorageFullError
from shared.storage.cache import Cache
from shared.storage.remote import RemoteStorage

CONTENT = b"features" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"features/0/{SHA256}.safetensors"


class FullServer(http.server.BaseHTTPRequestHandler):
    """Has a full disk: hands nothing out, though it takes what comes."""

    def do_GET(self) -> None:
        self._answer(507, b'{"error": "The disk is full: free some space and try again."}')

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b'{"done": true}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """With a copy in it that nobody uses."""
    earlier = Cache(tmp_path / "cache", limit_bytes=1 << 20)
    earlier.add(hashlib.sha256(b"kept").hexdigest(), lambda file: file.write(b"kept"))
    earlier.close()
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 20)
    yield cache
    cache.close()


@pytest.fixture
def store(cache: Cache) -> Iterator[RemoteStorage]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FullServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        store = RemoteStorage(
            f"http://127.0.0.1:{server.server_port}", token="t", cache=cache, on_progress=lambda: None
        )
        yield store
        store.close()
        server.shutdown()
        thread.join()


def test_a_full_disk_of_the_server_is_told_as_such_and_costs_no_copies(store: RemoteStorage, cache: Cache):
    with pytest.raises(StorageFullError, match=r"^The disk of the server 127\.0\.0\.1 is full"):
        store.file(KEY)
    assert cache.find(hashlib.sha256(b"kept").hexdigest())


def test_a_copy_of_what_is_written_gets_the_room_of_others(
    store: RemoteStorage, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "source").write_bytes(CONTENT)
    copy: Callable[..., None] = shutil.copyfileobj

    def full_in_the_middle(source: BinaryIO, target: BinaryIO, length: int) -> None:
        monkeypatch.setattr(shutil, "copyfileobj", copy)
        target.write(source.read(10))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), length)

    monkeypatch.setattr(shutil, "copyfileobj", full_in_the_middle)

    store.write_file(KEY, tmp_path / "source")

    copied = cache.find(SHA256)
    assert copied is not None
    assert copied.read_bytes() == CONTENT
    assert cache.find(hashlib.sha256(b"kept").hexdigest()) is None
