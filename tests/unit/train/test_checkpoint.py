"""Checkpoints: whole or not there, the newest valid one wins, the rest is pruned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typing_extensions import override

from shared.errors import CheckpointError, CorruptCheckpointError, StorageError, StorageFullError
from shared.events import CheckpointSaved, Warned
from shared.storage import FolderStorage
from tests.unit.train.tools import Surroundings, snapshot, tiny_config
from worker.train.checkpoint import (
    MANIFEST_FILE,
    MODEL_FILE,
    STATE_FILE,
    CheckpointStore,
    Snapshot,
    check_compatible,
)
from worker.train.checkpoint_writer import CheckpointWriter
from worker.train.warnings import Warnings

FOLDER = "jobs/1/checkpoints"


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path)


@pytest.fixture
def store(storage: FolderStorage) -> CheckpointStore:
    return CheckpointStore(storage, 1)


def test_what_was_saved_is_loaded(store: CheckpointStore):
    saved = snapshot(12)
    store.save(saved)

    loaded = store.load("1-12")

    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert loaded.state["position"] == {"step": 12}
    assert loaded.state["pair"] == (1, 2.5)
    assert loaded.description == saved.description
    assert loaded.manifest.config == saved.config


def test_a_second_save_of_a_step_that_fails_costs_the_first_nothing(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    store.save(snapshot(12))
    write = FolderStorage.write

    def full(self: FolderStorage, key: str, data: bytes) -> None:
        if key.endswith(MANIFEST_FILE):
            raise StorageFullError("full")
        write(self, key, data)

    monkeypatch.setattr(FolderStorage, "write", full)
    with pytest.raises(StorageFullError):
        store.save(snapshot(12, reason="final", repeat=1))
    monkeypatch.undo()

    assert store.names() == ["1-12"]
    assert store.load("1-12").manifest.reason == "interval"
    store.save(snapshot(12, reason="final", repeat=1))
    assert store.names() == ["1-12-1", "1-12"]


def test_the_best_is_looked_for_where_its_name_is_gone(store: CheckpointStore):
    assert store.best_of("1-7") is None
    store.save(snapshot(1, best=True))
    store.save(snapshot(2))
    assert store.best_of("1-2") == "1-2"
    assert store.best_of("1-7") == "1-1"


@pytest.mark.parametrize("file", [MODEL_FILE, STATE_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("position", [0, 9, -1])
def test_one_flipped_bit_makes_the_one_before_win(
    storage: FolderStorage, store: CheckpointStore, file: str, position: int
):
    store.save(snapshot(1))
    store.save(snapshot(2))
    key = f"{FOLDER}/1-2/{file}"
    damaged = bytearray(storage.read(key))
    damaged[position] ^= 0x80
    storage.write(key, bytes(damaged))
    corrupt: list[str] = []

    loaded = store.load_newest(on_corrupt=lambda error: corrupt.append(error.name))

    assert corrupt == ["1-2"]
    assert loaded is not None
    assert loaded.manifest.name == "1-1"


@pytest.mark.parametrize("file", [MODEL_FILE, STATE_FILE, MANIFEST_FILE])
def test_an_interrupted_save_does_not_count(storage: FolderStorage, store: CheckpointStore, file: str):
    store.save(snapshot(1))
    storage.delete(f"{FOLDER}/1-1/{file}")
    with pytest.raises(CorruptCheckpointError, match="1-1"):
        store.load("1-1")


def test_later_attempts_are_newer_whatever_their_step(store: CheckpointStore):
    for attempt, step in [(1, 90), (2, 10), (10, 5), (2, 9)]:
        store.save(snapshot(step, attempt=attempt))
    assert store.names() == ["10-5", "2-10", "2-9", "1-90"]


def test_the_newest_three_the_best_and_the_final_ones_are_kept(storage: FolderStorage, store: CheckpointStore):
    store.save(snapshot(1, reason="final"))
    for step in range(2, 9):
        store.save(snapshot(step))
    storage.write(f"{FOLDER}/1-9/{MODEL_FILE}", b"left by an interrupted save")

    kept = store.prune(attempt=1, best="1-3")

    assert kept == ["1-8", "1-7", "1-6", "1-3", "1-1"]
    assert store.names() == kept


def test_an_attempt_that_was_overtaken_removes_nothing(store: CheckpointStore):
    for step in range(1, 6):
        store.save(snapshot(step))
    store.save(snapshot(3, attempt=2))
    assert len(store.prune(attempt=1, best=None)) == 6


@pytest.mark.parametrize("field", ["learning_rate", "latent_dim", "seed"])
def test_a_resume_may_not_change_the_training(store: CheckpointStore, field: str):
    manifest = store.save(snapshot(1))
    changed = manifest.config.model_copy(update={field: 1})
    with pytest.raises(CheckpointError, match=field):
        check_compatible(manifest, changed, manifest.dataset_version)


def test_a_resume_may_change_epochs_and_previews(store: CheckpointStore):
    manifest = store.save(snapshot(1))
    check_compatible(manifest, tiny_config(epochs=99, preview_every=7, refine_steps=3), manifest.dataset_version)
    with pytest.raises(CheckpointError, match="dataset"):
        check_compatible(manifest, tiny_config(), "1" * 64)


class FullStorage(FolderStorage):
    """A store whose disk is full for some keys, or soon will be."""

    full_for = ""
    free: int | None = None

    @override
    def write(self, key: str, data: bytes) -> None:
        if self.full_for and key.endswith(self.full_for):
            raise StorageFullError("The disk is full.")
        super().write(key, data)

    @override
    def free_bytes(self) -> int | None:
        return super().free_bytes() if self.free is None else self.free


def _write(storage: FolderStorage, *snapshots: Snapshot) -> tuple[Surroundings, StorageError | None]:
    around = Surroundings()
    with CheckpointWriter(CheckpointStore(storage, 1), around, around, Warnings(around, set()), best=None) as writer:
        for each in snapshots:
            writer.submit(each)
            writer.wait()
    return around, writer.failure


@pytest.mark.parametrize("file", [MODEL_FILE, STATE_FILE, MANIFEST_FILE])
def test_a_full_disk_warns_and_leaves_the_earlier_checkpoint_alone(tmp_path: Path, file: str):
    storage = FullStorage(tmp_path)
    _write(storage, snapshot(1))
    storage.full_for = f"1-2/{file}"

    around, failure = _write(storage, snapshot(2))

    assert isinstance(failure, StorageFullError)
    assert [warning.code for warning in around.of(Warned)] == ["disk"]
    store = CheckpointStore(storage, 1)
    assert store.names() == ["1-1"]
    assert store.load("1-1").manifest.step == 1


def test_without_room_for_two_and_a_half_an_interval_is_left_out_but_not_what_a_person_wants(tmp_path: Path):
    storage = FullStorage(tmp_path)
    storage.free = 10

    around, _ = _write(storage, snapshot(1), snapshot(2, reason="cancel"))

    assert [saved.name for saved in around.of(CheckpointSaved)] == ["1-2"]
    assert [warning.code for warning in around.of(Warned)] == ["disk"]


def test_each_save_is_told_with_what_is_kept_once_it_is_durable(storage: FolderStorage):
    around, failure = _write(storage, snapshot(1, best=True), *(snapshot(step) for step in range(2, 7)))

    last = around.of(CheckpointSaved)[-1]
    assert failure is None
    assert (last.step, last.kept) == (6, ["1-6", "1-5", "1-4", "1-1"])
    assert last.size_bytes > 0


def test_what_ends_the_thread_is_raised_where_the_training_waits(
    storage: FolderStorage, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CheckpointStore, "save", break_down)
    with pytest.raises(ZeroDivisionError):
        _write(storage, snapshot(1))
    assert store.names() == []


def test_a_best_one_that_still_waits_gives_way_to_a_better_one(storage: FolderStorage):
    around = Surroundings()
    writer = CheckpointWriter(CheckpointStore(storage, 1), around, around, Warnings(around, set()), best=None)
    for step in (1, 2, 3):
        writer.submit(snapshot(step, reason="best", best=True))
    writer.submit(snapshot(4))
    with writer:
        writer.wait()
    assert [saved.name for saved in around.of(CheckpointSaved)] == ["1-3", "1-4"]


def test_what_an_unheard_trainer_saved_is_not_gone_on_from(storage: FolderStorage):
    unheard = CheckpointStore(storage, 1)
    for step in (10, 20, 30):
        unheard.save(snapshot(step))
    newer = CheckpointStore(storage, 1, attempt=2, recorded=["1-10"])

    loaded = newer.load_newest(on_corrupt=lambda _: None)

    assert loaded is not None
    assert loaded.manifest.name == "1-10"
    assert newer.names() == ["1-10"]


def test_an_unheard_trainer_leaves_the_checkpoint_that_the_record_knows(store: CheckpointStore):
    for step in range(1, 8):
        store.save(snapshot(step))
        kept = store.prune(attempt=1, best=None, recorded="1-1")
    assert kept == ["1-7", "1-6", "1-5", "1-1"]
    assert store.names() == kept


def test_leftovers_of_an_unheard_trainer_are_cleared_away(storage: FolderStorage):
    old = CheckpointStore(storage, 1)
    for step in (1, 2, 3):
        old.save(snapshot(step))
    newer = CheckpointStore(storage, 1, attempt=2, recorded=["1-1"])
    newer.save(snapshot(5, attempt=2))
    assert newer.prune(attempt=2, best=None) == ["2-5", "1-1"]
    assert old.names() == ["2-5", "1-1"]
    assert old.prune(attempt=1, best=None) == ["2-5", "1-1"], "an older attempt removes nothing of a newer one"


def test_the_newest_checkpoint_that_is_heard_of_outlives_the_others(storage: FolderStorage):
    class Heard(Surroundings):
        recorded_checkpoint = None

    around = Heard()
    store = CheckpointStore(storage, 1)
    with CheckpointWriter(store, around, around, Warnings(around, set()), best=None, recorded=None) as writer:
        for step in range(1, 9):
            writer.submit(snapshot(step))
            writer.wait()
            if step == 2:
                around.recorded_checkpoint = "1-2"
    assert store.names() == ["1-8", "1-7", "1-6", "1-2"]
