"""A store in a folder whose disk fails: what the system says becomes an error of ours, whatever was asked for."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from shared.errors import NotFoundError, StorageError
from shared.storage import FolderStorage

KEY = "jobs/1/checkpoints/1-20/state.pt"


def fail(*_: object) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("where", "what", "ask"),
    [
        (Path, "is_file", lambda store: store.file(KEY)),
        (Path, "is_file", lambda store: store.exists(KEY)),
        (Path, "is_file", lambda store: store.stat(KEY)),
        (Path, "iterdir", lambda store: store.names("jobs/1/checkpoints")),
        (Path, "is_dir", lambda store: store.names("jobs/1/checkpoints")),
        (shutil, "disk_usage", lambda store: store.free_bytes()),
    ],
)
def test_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, what: str, ask: Callable[[FolderStorage], object]
):
    store = FolderStorage(tmp_path)
    store.write(KEY, b"content")
    ask(store)
    monkeypatch.setattr(where, what, fail)
    with pytest.raises(StorageError, match="Input/output error") as failure:
        ask(store)
    assert not isinstance(failure.value, NotFoundError)


def test_a_folder_that_is_gone_has_no_space_to_tell_of(tmp_path: Path):
    store = FolderStorage(tmp_path / "store")
    store.root.rmdir()
    with pytest.raises(StorageError, match="No such file"):
        store.free_bytes()


def test_what_killed_processes_left_is_swept_once_it_is_old(tmp_path: Path):
    store = FolderStorage(tmp_path)
    store.write(KEY, b"content")
    (tmp_path / "clips").mkdir()
    doomed = tmp_path / "jobs" / "1" / "checkpoints" / ".tmp-2"
    doomed.mkdir()
    left = [tmp_path / "clips" / ".tmp-1", doomed / "state.pt"]
    for path in left:
        path.touch()

    store.sweep()
    assert all(path.exists() for path in left), "whoever writes them may still be at it"
    store.sweep(older_than_s=0.0)

    assert not any(path.exists() for path in (*left, doomed))
    assert store.read(KEY) == b"content"


def test_two_who_delete_one_folder_are_both_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("jobs/1/a", b"a")
    rename = Path.rename

    def rename_late(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        storage.delete("jobs/1")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    storage.delete("jobs/1")
    assert storage.names("jobs") == []
