"""The data folder: lock, processes that are written down."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.data_folder import DataFolder, FolderInUseError, FolderLock, ProcessEntry
from shared.errors import StorageError


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "new" / "data")


def entry_of(pid: int) -> ProcessEntry:
    return ProcessEntry.of(role="worker", name="worker-cpu", pid=pid)


def test_a_new_folder_is_for_its_owner_alone(folder: DataFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.logs.is_dir()


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="--data"):
        DataFolder(tmp_path / "file" / "data")


def test_the_lock_is_refused_while_it_is_held_naming_the_holder(folder: DataFolder) -> None:
    with FolderLock(folder), pytest.raises(FolderInUseError, match=f"process {os.getpid()}") as refusal:
        FolderLock(folder)

    assert not refusal.value.stopping
    with FolderLock(folder):
        pass


def test_a_holder_that_is_gone_counts_as_stopping(folder: DataFolder) -> None:
    script = (
        "import sys, pathlib, subprocess\n"
        "from deploy.data_folder import DataFolder, FolderLock\n"
        "lock = FolderLock(DataFolder(pathlib.Path(sys.argv[1])))\n"
        "heir = subprocess.Popen(['cat'], stdin=0, stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()])\n"
        "print(heir.pid, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        holder.wait()

        with pytest.raises(FolderInUseError) as refusal:
            FolderLock(folder)

        assert refusal.value.stopping
        holder.stdin.close()
        holder.stdout.read()


def test_processes_that_live_are_read_back(folder: DataFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        entry = entry_of(process.pid)
        ended = ProcessEntry(role="api", name="api", pid=process.pid, started=entry.started - 1)
        folder.write_processes([ended, entry])

        assert folder.read_processes() == [entry]

        process.communicate(b"\n")
    assert folder.read_processes() == []


@pytest.mark.parametrize("content", ["", "[", '{"a": 1}', '[{"pid": 1}]'])
def test_a_damaged_list_of_processes_is_an_empty_one(folder: DataFolder, content: str) -> None:
    (folder.path / "processes.json").write_text(content)

    assert folder.read_processes() == []


def test_a_process_that_never_was_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not entry_of(process.pid).alive()
