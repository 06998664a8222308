"""Checkpoints under fire: the process killed while it saves, bits flipped on the disk."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import CorruptCheckpointError
from shared.storage import FolderStorage
from tests.faults.counting import Fault
from tests.faults.saving import is_step, save
from tests.system import ROOT
from worker.train.checkpoint import MANIFEST_FILE, MODEL_FILE, STATE_FILE, CheckpointStore

SEED = 17


def test_row_17_a_save_killed_at_any_point(tmp_path: Path, fault: Fault, count: Callable[[int, int], int]) -> None:
    rounds = count(40, 500)
    command = [sys.executable, "-m", "tests.faults.saving", str(tmp_path / "store"), str(rounds), str(SEED)]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    assert len(lines) == rounds
    torn = 0
    for line in lines:
        fault.injected()
        torn += bool(line["named"])
        assert line["whole"], line
        # Not one that was reported as saved is lost; one that was whole on the disk but not reported may be there.
        assert line["durable"] <= line["loaded"] <= line["begun"], line
        newer = [name for name in line["held"] if int(name.partition("-")[2]) > line["loaded"]]
        assert line["named"] == newer, line
        fault.held()
    inside = sum(line["begun"] > line["durable"] for line in lines)
    assert inside > rounds / 4, "most kills came between two saves"
    assert torn, "no kill left a torn checkpoint"
    fault.note(f"{inside} inside a save, {torn} left a torn one")


def test_row_17_a_torn_folder(tmp_path: Path, fault: Fault) -> None:
    """Every state that a folder may be left in, also by a disk that lost what it had promised to keep."""
    storage = FolderStorage(tmp_path / "store")
    store = CheckpointStore(storage, 1)
    for step in (1, 2):
        save(store, step)
    newest = storage.root / "jobs" / "1" / "checkpoints" / "1-2"
    kept = tmp_path / "whole"
    shutil.copytree(newest, kept)
    for file in (MODEL_FILE, STATE_FILE, MANIFEST_FILE):
        size = (kept / file).stat().st_size
        for length in (None, 0, 1, size // 2, size - 1):
            if length is None:
                (newest / file).unlink()
            else:
                (newest / file).write_bytes((kept / file).read_bytes()[:length])
            fault.injected()
            assert_falls_back(store, "1-2", 1)
            fault.held()
            shutil.copy(kept / file, newest / file)


def test_row_17_a_flipped_bit(tmp_path: Path, fault: Fault) -> None:
    storage = FolderStorage(tmp_path / "store")
    store = CheckpointStore(storage, 1)
    for step in (1, 2):
        save(store, step)
    newest = storage.root / "jobs" / "1" / "checkpoints" / "1-2"
    chance = random.Random(SEED)
    for flip in range(50):
        path = newest / (MODEL_FILE, STATE_FILE, MANIFEST_FILE)[flip % 3]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        fault.injected()
        assert_falls_back(store, "1-2", 1)
        fault.held()
        path.write_bytes(whole)
    loaded = store.load_newest(on_corrupt=pytest.fail)
    assert loaded is not None
    assert is_step(loaded, 2), "nothing but the flips was wrong"


def assert_falls_back(store: CheckpointStore, damaged: str, step: int) -> None:
    """`damaged`, and no other, is named as such, and the checkpoint of `step` loads."""
    named: list[CorruptCheckpointError] = []
    loaded = store.load_newest(on_corrupt=named.append)
    assert [error.name for error in named] == [damaged]
    assert loaded is not None
    assert is_step(loaded, step)
