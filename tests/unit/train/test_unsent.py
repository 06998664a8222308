"""Checkpoints while the artifact store is away: kept here, sent later, never lost and never in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typing_extensions import override

from shared.errors import StorageError
from shared.events import CheckpointSaved, StepMetrics, Warned
from shared.storage import FolderStorage
from tests.unit.train.test_checkpoint import snapshot
from tests.unit.train.tools import Bench, Surroundings, one_thread_and_no_delay, tiny_config
from worker.attempt import AttemptResult
from worker.train import checkpoint_writer, run_training
from worker.train.checkpoint import MANIFEST_FILE, CheckpointStore, Snapshot
from worker.train.checkpoint_writer import CheckpointWriter
from worker.train.unsent import UnsentCheckpoints
from worker.train.warnings import Warnings


class AwayStorage(FolderStorage):
    """A store elsewhere that takes no checkpoint while `away`, or that takes one again after `failures`."""

    away = False
    failures = 0

    @override
    def write_file(self, key: str, path: Path) -> None:
        self.failures -= self.failures > 0
        if "/checkpoints/" in key and (self.away or self.failures):
            raise StorageError("The artifact store is away.")
        super().write_file(key, path)


@pytest.fixture
def storage(tmp_path: Path) -> AwayStorage:
    return AwayStorage(tmp_path / "store")


@pytest.fixture
def store(storage: AwayStorage) -> CheckpointStore:
    return CheckpointStore(storage, 1)


@pytest.fixture
def unsent(store: CheckpointStore, tmp_path: Path) -> UnsentCheckpoints:
    return UnsentCheckpoints(tmp_path / "unsent", store, 1)


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    """What waits on this machine."""
    return CheckpointStore(FolderStorage(tmp_path / "unsent"), 1)


class Writing:
    """Snapshots one after the other through a writer."""

    def __init__(self, store: CheckpointStore, unsent: UnsentCheckpoints) -> None:
        self.around = Surroundings()
        self.writer = CheckpointWriter(
            store, self.around, self.around, Warnings(self.around, set()), best=None, unsent=unsent
        )

    def write(self, *snapshots: Snapshot) -> None:
        for each in snapshots:
            self.writer.submit(each)
            self.writer.wait()


def test_what_is_saved_leaves_nothing_here(store: CheckpointStore, unsent: UnsentCheckpoints, here: CheckpointStore):
    writing = Writing(store, unsent)
    with writing.writer:
        writing.write(snapshot(1))
    assert store.load("1-1").manifest.step == 1
    assert here.names() == []
    assert [event.name for event in writing.around.of(CheckpointSaved)] == ["1-1"]


def test_the_newest_and_the_best_wait_and_the_best_goes_with_the_next(
    storage: AwayStorage, store: CheckpointStore, unsent: UnsentCheckpoints, here: CheckpointStore
):
    writing = Writing(store, unsent)
    with writing.writer:
        storage.away = True
        writing.write(snapshot(1), snapshot(2, best=True), snapshot(3), snapshot(4))
        assert here.names() == ["1-4", "1-2"]
        assert store.names() == []
        assert isinstance(writing.writer.failure, StorageError)
        assert writing.writer.durable_step is None
        [warning] = writing.around.of(Warned)
        assert "keeps a copy" in warning.advice

        storage.away = False
        writing.write(snapshot(5))

    assert writing.writer.failure is None
    assert store.names() == ["1-5", "1-2"]
    assert store.load("1-2").manifest.best
    assert here.names() == []
    saved = writing.around.of(CheckpointSaved)
    assert [event.name for event in saved] == ["1-2", "1-5"]
    assert saved[-1].kept == ["1-5", "1-2"]


def test_the_final_one_waits_for_the_store(
    storage: AwayStorage,
    store: CheckpointStore,
    unsent: UnsentCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(checkpoint_writer, "_PAUSE_S", 0.01)
    storage.failures = 4
    writing = Writing(store, unsent)
    with writing.writer:
        writing.write(snapshot(1, reason="final"))
    assert writing.writer.failure is None
    assert store.names() == ["1-1"]


def test_the_final_one_gives_up_after_a_while(
    storage: AwayStorage,
    store: CheckpointStore,
    unsent: UnsentCheckpoints,
    here: CheckpointStore,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(checkpoint_writer, "FINAL_PATIENCE_S", 0.0)
    storage.away = True
    writing = Writing(store, unsent)
    with writing.writer:
        writing.write(snapshot(1, reason="final"))
    assert isinstance(writing.writer.failure, StorageError)
    assert here.names() == ["1-1"]


def test_what_was_sent_in_part_is_no_checkpoint_and_is_completed(
    storage: AwayStorage, store: CheckpointStore, unsent: UnsentCheckpoints
):
    storage.failures = 0
    with pytest.MonkeyPatch.context() as patch:
        write_file = storage.write_file

        def all_but_the_manifest(key: str, path: Path) -> None:
            if key.endswith(MANIFEST_FILE):
                raise StorageError("The artifact store is away.")
            write_file(key, path)

        patch.setattr(storage, "write_file", all_but_the_manifest)
        with pytest.raises(StorageError):
            unsent.save(snapshot(1), on_part=lambda: None)
    assert store.load_newest(on_corrupt=lambda _: None) is None
    assert [manifest.name for manifest in unsent.send(all_of_them=True)] == ["1-1"]
    assert store.load("1-1").manifest.step == 1


def test_what_another_machine_went_on_from_is_not_sent(
    storage: AwayStorage, store: CheckpointStore, unsent: UnsentCheckpoints, here: CheckpointStore
):
    storage.away = True
    with pytest.raises(StorageError):
        unsent.save(snapshot(9), on_part=lambda: None)
    storage.away = False
    store.save(snapshot(3, attempt=2))

    assert unsent.send(all_of_them=True) == []
    assert here.names() == []
    assert store.names() == ["2-3"]


def test_what_nobody_went_on_with_is_forgotten(tmp_path: Path, store: CheckpointStore):
    for job in (2, 3):
        CheckpointStore(FolderStorage(tmp_path / "unsent"), job).save(snapshot(1))
    long_ago = time.time() - 15 * 86_400
    for path in (tmp_path / "unsent" / "jobs" / "2").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    UnsentCheckpoints(tmp_path / "unsent", store, 1)
    assert [path.name for path in (tmp_path / "unsent" / "jobs").iterdir()] == ["3"]


def test_a_training_that_could_not_save_goes_on_from_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bench = Bench(tmp_path)
    storage = bench.storage = AwayStorage(tmp_path / "store")

    def train(around: Surroundings, attempt: int) -> AttemptResult:
        return run_training(
            bench.attempt(tiny_config(epochs=50), attempt=attempt),
            storage=storage,
            device="cpu",
            cache=tmp_path / "cache",
            reporter=around,
            control=around,
            outbox=tmp_path / "unsent",
        )

    with one_thread_and_no_delay(monkeypatch):
        storage.away = True
        first = Surroundings(stop_at=4)
        stopped = train(first, 1)
        assert "could not be saved" in stopped.reason
        assert first.of(CheckpointSaved) == []

        storage.away = False
        second = Surroundings(stop_at=stopped.step + 2)
        train(second, 2)

    sent, *_ = second.of(CheckpointSaved)
    assert sent.name == f"1-{stopped.step}"
    assert second.of(StepMetrics)[0].step[0] == stopped.step + 1
    assert CheckpointStore(storage, 1).names()[0].startswith("2-")
