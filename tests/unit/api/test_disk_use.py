"""What the store takes, told at once however long it takes to walk it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.keeping import disk_use
from api.keeping.disk_use import DiskUse
from shared.storage import FolderStorage
from shared.storage.base import Entry

LONG_S = 20.0


def test_nobody_waits_for_a_long_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_use, "PATIENCE_S", 0.01)
    storage = FolderStorage(tmp_path)
    storage.write("clips/a", b"12345")
    use = DiskUse(storage)
    assert use.total().size_bytes == 5
    entries, walks, may_go = storage.entries, threading.Semaphore(0), threading.Event()

    def entries_slowly(prefix: str) -> Iterator[Entry]:
        found = list(entries(prefix))
        if prefix == "clips":
            walks.release()
            assert may_go.wait(LONG_S)
        yield from found

    monkeypatch.setattr(storage, "entries", entries_slowly)
    use.forget()
    assert use.total().size_bytes == 5, "the old sum, while the store is walked"
    assert walks.acquire(timeout=LONG_S)
    storage.delete("clips/a")
    use.forget()
    assert use.total().size_bytes == 5
    assert not walks.acquire(blocking=False), "one walk at a time"
    monkeypatch.setattr(disk_use, "PATIENCE_S", LONG_S)
    may_go.set()
    # What the walk had seen before the deletion is not told for what came after it.
    while walked := use.total().size_bytes:
        assert walked == 5
    assert use.total().size_bytes == 0
