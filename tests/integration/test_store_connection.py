"""The store over connections that break, and over an api that is killed in the middle."""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import DamagedError, StorageError
from shared.storage import FolderStorage, remote
from shared.storage.cache import Cache
from shared.storage.remote import RemoteStorage
from tests.system import System

KEY = "jobs/1/checkpoints/1-20/state.pt"
CONTENT = secrets.token_bytes(1 << 20) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class CuttingProxy:
    """Passes bytes on to `port`; cuts each of the first connections once as many bytes went by as `cuts` says."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._target = port
        self._cuts = cuts
        self.cut = 0
        """Connections that were cut."""
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Little is on its way when a connection is cut, however late this proxy comes to read.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            left = [self._cuts.pop(0) if self._cuts else -1]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(source, sink, left), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        """`left` is shared by both directions; a negative number is no limit."""
        try:
            while data := source.recv(1 << 16):
                if left[0] >= 0:
                    left[0] -= len(data)
                    if left[0] < 0:
                        self.cut += 1
                        break
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("api") / "data", redis_url) as system:
        system.start_api()
        yield system


@pytest.fixture(scope="module")
def token(system: System) -> str:
    return system.post("/tokens", {"name": "a worker"})["secret"]


@pytest.fixture
def there(system: System) -> Iterator[FolderStorage]:
    """The store as the api has it."""
    storage = FolderStorage(system.data / "store")
    yield storage
    storage.delete("jobs")


def opened(folder: Path, port: int, token: str, beats: list[int] | None = None) -> RemoteStorage:
    return RemoteStorage(
        f"http://127.0.0.1:{port}",
        token=token,
        cache=Cache(folder, limit_bytes=1 << 30),
        on_progress=lambda: None if beats is None else beats.append(1),
    )


def test_an_upload_goes_on_where_its_connections_broke(
    system: System, token: str, there: FolderStorage, tmp_path: Path
):
    proxy = CuttingProxy(system.port, cuts=[3 << 20, 5 << 20, 2 << 20])
    beats: list[int] = []
    store = opened(tmp_path, proxy.port, token, beats)
    store.write(KEY, CONTENT)
    assert proxy.cut == 3
    assert there.read(KEY) == CONTENT
    # What arrived before a cut was not sent again, but for what was on its way.
    assert len(beats) * remote.CHUNK_BYTES < 1.6 * len(CONTENT)
    store.close()
    proxy.close()


def test_a_download_goes_on_where_its_connections_broke(
    system: System, token: str, there: FolderStorage, tmp_path: Path
):
    there.write(KEY, CONTENT)
    proxy = CuttingProxy(system.port, cuts=[3 << 20, 5 << 20, 2 << 20])
    store = opened(tmp_path, proxy.port, token)
    assert store.read(KEY) == CONTENT
    assert store.file(KEY).read_bytes() == CONTENT
    assert proxy.cut == 3
    store.close()
    proxy.close()


def test_an_upload_goes_on_after_the_api_was_killed(system: System, token: str, there: FolderStorage, tmp_path: Path):
    killed = threading.Event()
    starting = threading.Thread(target=system.start_api)
    moved = 0

    def kill_in_the_middle() -> None:
        nonlocal moved
        moved += remote.CHUNK_BYTES
        if moved > len(CONTENT) // 2 and not killed.is_set():
            killed.set()
            system.kill("api")
            starting.start()

    store = RemoteStorage(
        system.url, token=token, cache=Cache(tmp_path, limit_bytes=1 << 30), on_progress=kill_in_the_middle
    )
    key = f"features/{'0' * 64}/{SHA256}.safetensors"  # something that is waited for
    store.write(key, CONTENT)
    assert killed.is_set()
    starting.join()  # it still waits until the api is ready, and connects
    assert there.read(key) == CONTENT
    assert moved < 1.9 * len(CONTENT)
    store.close()


def test_an_api_that_stays_away_is_told_in_a_sentence(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.storage.patience.SHORT_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    store = opened(tmp_path, port, token)
    with pytest.raises(StorageError, match="is away"):
        store.write(KEY, CONTENT)
    store.close()


def test_a_worthless_token_is_told_at_once(system: System, tmp_path: Path):
    store = opened(tmp_path, system.port, "spt_wrong")
    with pytest.raises(StorageError, match="token"):
        store.read(KEY)
    store.close()


def test_damage_in_the_store_is_noticed_by_the_name(system: System, token: str, there: FolderStorage, tmp_path: Path):
    there.write(f"clips/{SHA256}", b"damaged")
    store = opened(tmp_path, system.port, token)
    with pytest.raises(DamagedError):
        store.file(f"clips/{SHA256}")
    there.write(f"clips/{SHA256}", CONTENT)
    path = store.file(f"clips/{SHA256}")
    assert path.read_bytes() == CONTENT

    path.write_bytes(b"damaged here")  # the copy is fetched again
    assert store.file(f"clips/{SHA256}").read_bytes() == CONTENT
    store.close()
