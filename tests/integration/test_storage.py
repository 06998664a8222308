"""One contract for every artifact store: a folder, the api over HTTP, and S3; each behind its real server."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import NotFoundError, StorageError
from shared.storage import Storage, open_storage
from shared.storage.distant import DistantStorage
from tests.system import System

CHECKPOINT = "jobs/1/checkpoints/1-20"
MIB = 1 << 20


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("api") / "data", redis_url) as system:
        system.start_api()
        yield system


@pytest.fixture(scope="module")
def token(system: System) -> str:
    return system.post("/tokens", {"name": "a worker"})["secret"]


Opener = Callable[[Path], Storage]


@pytest.fixture(params=["folder", "http", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same store again and again, as several machines do: each with a cache of its own."""
    stores: list[Storage] = []
    prefix = secrets.token_hex(4)

    def url() -> tuple[str, str]:
        match request.param:
            case "folder":
                return str(tmp_path / "store"), ""
            case "http":
                system: System = request.getfixturevalue("system")
                return system.url, request.getfixturevalue("token")
            case _:
                request.getfixturevalue("s3_server")
                return f"s3://spectrain/{prefix}", ""

    address, token = url()

    def another(cache: Path) -> Storage:
        stores.append(open_storage(address, token=token, cache=cache))
        return stores[-1]

    yield another
    for store in stores:
        store.delete(CHECKPOINT)
        if isinstance(store, DistantStorage):
            store.close()


@pytest.fixture
def store(opened: Opener, tmp_path: Path) -> Storage:
    return opened(tmp_path / "cache")


def test_what_is_written_is_read(store: Storage, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"from a file")

    store.write(f"{CHECKPOINT}/model.safetensors", b"weights")
    store.write_file(f"{CHECKPOINT}/state.pt", source)
    store.write(f"{CHECKPOINT}/empty", b"")

    assert store.read(f"{CHECKPOINT}/model.safetensors") == b"weights"
    assert store.file(f"{CHECKPOINT}/state.pt").read_bytes() == b"from a file"
    assert store.read(f"{CHECKPOINT}/empty") == b""
    assert store.names(CHECKPOINT) == ["empty", "model.safetensors", "state.pt"]
    assert "1-20" in store.names("jobs/1/checkpoints")
    found = store.stat(f"{CHECKPOINT}/model.safetensors")
    assert (found.sha256, found.size_bytes) == (digest(b"weights"), 7)
    assert source.exists()


def test_another_machine_sees_what_replaced_it(opened: Opener, tmp_path: Path):
    here, there = opened(tmp_path / "here"), opened(tmp_path / "there")
    for content in (b"one", b"another, longer", b"3"):
        here.write("jobs/1/plan.json", content)
        assert there.read("jobs/1/plan.json") == content
        assert there.file("jobs/1/plan.json").read_bytes() == content


def test_what_is_not_there(store: Storage):
    for call in (store.read, store.file, store.stat):
        with pytest.raises(NotFoundError, match=r"jobs/9/checkpoints/1-1/state\.pt"):
            call("jobs/9/checkpoints/1-1/state.pt")
    assert not store.exists("jobs/9/checkpoints/1-1/state.pt")
    assert not store.exists("jobs")
    assert store.names("jobs/9/checkpoints") == []
    store.delete("jobs/9/checkpoints/1-1")


def test_a_folder_is_deleted_with_everything_in_it_and_nothing_beside_it(store: Storage):
    for key in (f"{CHECKPOINT}/a", f"{CHECKPOINT}/deep/b", f"{CHECKPOINT}0/c"):
        store.write(key, b"content")

    store.delete(f"{CHECKPOINT}/deep/b")
    assert not store.exists(f"{CHECKPOINT}/deep/b")
    store.delete(CHECKPOINT)

    assert not store.exists(f"{CHECKPOINT}/a")
    assert store.names(CHECKPOINT) == []
    assert store.read(f"{CHECKPOINT}0/c") == b"content"
    store.delete(f"{CHECKPOINT}0")


def test_a_large_file_goes_and_comes_whole(opened: Opener, tmp_path: Path):
    content = secrets.token_bytes(1 << 20) * 41 + b"the end"
    source = tmp_path / "source"
    source.write_bytes(content)

    opened(tmp_path / "here").write_file(f"{CHECKPOINT}/state.pt", source)

    there = opened(tmp_path / "there")
    assert there.stat(f"{CHECKPOINT}/state.pt").size_bytes == len(content)
    assert digest(there.read(f"{CHECKPOINT}/state.pt")) == digest(content)
    assert digest(there.file(f"{CHECKPOINT}/state.pt").read_bytes()) == digest(content)


HOSTILE = [
    "",
    "..",
    "../secret",
    "jobs/../../secret",
    "/etc/passwd",
    "jobs//1",
    "jobs/1/",
    "jobs/.hidden",
    "jobs/1/plan.json\n",
    "jobs/1/a b",
    "jobs/1/a%2fb",
    "jobs/1/\x00",
    "jobs/1/ü",
    "jobs\\1",
    "C:/x",
    "jobs/" + "x" * 400,
]


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_are_refused(store: Storage, tmp_path: Path, key: str):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    calls: list[Callable[[], object]] = [
        lambda: store.write(key, b"x"),
        lambda: store.write_file(key, source),
        lambda: store.read(key),
        lambda: store.file(key),
        lambda: store.stat(key),
        lambda: store.exists(key),
        lambda: store.names(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="is not a key"):
            call()


def test_many_at_once(opened: Opener, tmp_path: Path):
    """Several machines and threads write the same and different keys; every reader sees a whole one."""
    stores = [opened(tmp_path / f"machine-{number}") for number in range(3)]
    content = {f"{CHECKPOINT}/part-{number}": secrets.token_bytes(200_000 + number) for number in range(8)}
    contents = {bytes([number]) * 100_000 for number in range(6)}

    def work(number: int) -> None:
        store = stores[number % len(stores)]
        for key, data in content.items():
            store.write(key, data)
            assert store.read(key) == data
        store.write("jobs/1/plan.json", bytes([number]) * 100_000)
        assert store.read("jobs/1/plan.json") in contents

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for store in stores:
        assert store.names(CHECKPOINT) == sorted(key.rpartition("/")[2] for key in content)
        assert store.read("jobs/1/plan.json") in contents


def test_space_is_told_where_it_is_known(store: Storage):
    free = store.free_bytes()
    assert free is None or free > 0
