"""Copies of artifacts: verified, bounded, shared by processes, and never taken from who uses them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from shared.errors import DamagedError, StorageFullError
from shared.storage import cache as cache_module
from shared.storage.cache import Cache

Opener = Callable[[], Cache]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Each is as another process has it."""
    caches: list[Cache] = []

    def another() -> Cache:
        caches.append(Cache(tmp_path / "cache", limit_bytes=2_500))
        return caches[-1]

    yield another
    for cache in caches:
        cache.close()


def content(number: int) -> bytes:
    return bytes([number]) * 1_000


def name(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


def put(cache: Cache, number: int) -> Path:
    def fill(file: BinaryIO) -> None:
        file.write(content(number))

    path = cache.add(name(number), fill)
    os.utime(path, ns=(number * 10**9, path.stat().st_mtime_ns))
    return path


def test_what_was_added_is_found_by_every_process(opened: Opener):
    cache = opened()
    assert cache.find(name(1)) is None
    assert put(cache, 1).read_bytes() == content(1)
    assert cache.find(name(1)) == opened().find(name(1)) != None  # noqa: E711 - a chain of equals


def test_other_bytes_are_not_kept(opened: Opener, tmp_path: Path):
    with pytest.raises(DamagedError):
        opened().add(name(1), lambda file: file.write(b"cut off"))
    assert opened().find(name(1)) is None
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".part"] == []


def test_damage_is_noticed(opened: Opener):
    first = opened()
    path = put(first, 1)
    path.write_bytes(content(1)[:-1])  # shorter, in the process that had verified it
    assert first.find(name(1)) is None

    path = put(first, 2)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(content(3))
    os.utime(path, ns=times)
    assert opened().find(name(2)) is None  # of the same size and time, in a process that sees it first
    assert not path.exists()


def test_what_was_not_used_for_longest_goes_first(opened: Opener):
    for number in (1, 2):
        cache = opened()
        put(cache, number)
        cache.close()
    user = opened()
    assert user.find(name(1))  # used just now
    user.close()
    last = opened()
    put(last, 3)
    assert [number for number in (1, 2, 3) if last.find(name(number))] == [1, 3]


def test_what_is_in_use_stays_above_the_limit_until_its_process_ends(opened: Opener):
    first, second = opened(), opened()
    used = [put(first, number) for number in (1, 2, 3)]
    put(second, 4)
    assert all(path.exists() for path in used)

    first.close()
    put(second, 5)
    assert not any(path.exists() for path in used)
    assert second.find(name(4))
    assert second.find(name(5))


def test_a_process_that_lives_long_gives_up_what_it_used_long_ago(opened: Opener, monkeypatch: pytest.MonkeyPatch):
    cache = opened()
    old = put(cache, 1)
    monkeypatch.setattr(cache_module, "HOLD_S", -1.0)
    put(cache, 2)
    put(cache, 3)
    put(cache, 4)
    assert not old.exists()


def test_a_store_that_is_full_costs_no_copies(opened: Opener):
    first, second = opened(), opened()
    put(first, 1)
    first.close()

    def refused(file: BinaryIO) -> None:
        del file
        raise StorageFullError("The disk of the server studio is full.")

    with pytest.raises(StorageFullError, match="of the server"):
        second.add(name(2), refused)
    assert second.find(name(1))


def test_where_this_disk_is_full_what_nobody_uses_makes_room(opened: Opener):
    first, second = opened(), opened()
    unused = put(first, 1)
    first.close()
    used = put(second, 2)
    rooms: list[bool] = []

    def fill(file: BinaryIO) -> None:
        rooms.append(not unused.exists())
        file.write(content(3))
        if not rooms[-1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert second.add(name(3), fill).read_bytes() == content(3)
    assert rooms == [False, True]
    assert used.exists()

    def never_enough(file: BinaryIO) -> None:
        del file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageFullError, match="The disk is full"):
        second.add(name(4), never_enough)
