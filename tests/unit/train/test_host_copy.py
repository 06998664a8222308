"""Copies of a training's state: memory is used again, but never while somebody reads it."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import override

from shared.errors import StorageFullError
from shared.storage import FolderStorage
from tests.unit.train.test_checkpoint import FullStorage, snapshot
from tests.unit.train.tools import Bench, Surroundings, tiny_config
from worker.train import host_copy, session
from worker.train.checkpoint import MODEL_FILE, CheckpointStore
from worker.train.checkpoint_writer import CheckpointWriter
from worker.train.host_copy import LARGE, Claim, HostCopies
from worker.train.learner import Learner
from worker.train.plan import ExecutionPlan
from worker.train.warnings import Warnings


def weights(value: float) -> dict[str, Any]:
    """A state of all that a state may hold."""
    last = torch.full((2, 3, 4, 4), value).to(memory_format=torch.channels_last)
    return {"layers": [torch.full((3,), value), last], "pair": (torch.tensor(value), 7), "name": "adam"}


def first(copied: Any) -> torch.Tensor:
    """One tensor of a copy."""
    return copied["layers"][0]


def test_a_copy_equals_its_source_and_does_not_follow_it():
    source = weights(1.0)
    copied, _, _claim = HostCopies(torch.device("cpu")).copy(source)
    for tensor in source["layers"]:
        tensor.zero_()
    assert copied["pair"] == (torch.tensor(1.0), 7)
    assert copied["name"] == "adam"
    assert [bool((tensor == 1).all()) for tensor in copied["layers"]] == [True, True]
    assert copied["layers"][1].is_contiguous(memory_format=torch.channels_last)


def test_memory_is_used_again_once_nobody_reads_it_and_not_before():
    copies = HostCopies(torch.device("cpu"))
    held: list[tuple[Any, Any, Claim]] = [copies.copy(weights(float(number))) for number in range(4)]
    assert [float(first(copied)[0]) for copied, *_ in held] == [0.0, 1.0, 2.0, 3.0]
    place = first(held[1][0]).data_ptr()
    del held[1]

    copied, _, _claim = copies.copy(weights(9.0))

    assert first(copied).data_ptr() == place
    assert [float(first(each)[0]) for each, *_ in held] == [0.0, 2.0, 3.0]


def test_a_state_of_other_shapes_is_copied_as_well():
    copies = HostCopies(torch.device("cpu"))
    copies.copy([torch.ones(3)])
    copied, _, _claim = copies.copy([torch.ones(4), torch.ones(2, dtype=torch.int64)])
    assert [each.tolist() for each in copied] == [[1.0] * 4, [1, 1]]


def test_what_is_steady_is_copied_beside_and_whole_before_it_may_change(monkeypatch: pytest.MonkeyPatch):
    go_on, move = threading.Event(), host_copy.move_bytes

    def late(moves: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        go_on.wait()
        move(moves)

    monkeypatch.setattr(host_copy, "move_bytes", late)
    copies = HostCopies(torch.device("cpu"))
    moving = torch.ones(LARGE)
    layouts = [
        torch.ones(LARGE),
        torch.ones(4, 8, 64, 64).to(memory_format=torch.channels_last),
        torch.ones(2, LARGE).T,
    ]
    moved, steady, claim = copies.copy(moving, layouts)
    moving.zero_()
    threading.Timer(0.05, go_on.set).start()

    copies.wait()
    for tensor in layouts:
        tensor.zero_()

    claim.wait()
    assert bool((moved == 1).all())
    assert [bool((copied == 1).all()) for copied in steady] == [True] * 3


def test_an_update_waits_for_the_copy_of_what_it_changes():
    """The weights, and the average that follows them."""
    learner = Learner(tiny_config(average_steps=10), ExecutionPlan(), torch.device("cpu"))
    batch = torch.randn(4, 1, 32, 32)
    learner.step(batch, learning_rate=1e-2, kl_weight=0.0)
    parameters = [*learner.model.parameters(), *learner.result.parameters()]
    before = [value.detach().clone() for value in parameters]
    waited: list[bool] = []

    def check() -> None:
        waited.append(all(map(torch.equal, before, parameters)))

    learner.before_update = check
    learner.step(batch, learning_rate=1e-2, kl_weight=0.0)
    assert waited == [True]
    assert not any(map(torch.equal, before, parameters))


def test_a_training_does_not_change_what_is_still_to_be_copied(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    plain, saving = Surroundings(stop_at=3), Surroundings(stop_at=6)
    saving.saves_at = {3}
    config = tiny_config(optimizer="muon")
    bench.train(bench.attempt(config, job_id=1), plain)
    go_on, move = threading.Event(), host_copy.move_bytes

    def late(moves: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        go_on.wait()
        move(moves)

    class LateCopies(HostCopies):
        """Copies nothing before somebody waits for it: the next update, or else only the next copy."""

        asked = False

        @override
        def copy(self, moving: Any, steady: Any = None) -> tuple[Any, Any, Claim]:
            copied = super().copy(moving, steady)
            self.asked = True
            return copied

        @override
        def wait(self) -> None:
            if self.asked:
                go_on.set()
            super().wait()

    monkeypatch.setattr(host_copy, "move_bytes", late)
    monkeypatch.setattr(host_copy, "LARGE", 0)
    monkeypatch.setattr(session, "HostCopies", LateCopies)
    bench.train(bench.attempt(config, job_id=2), saving)

    wanted, saved = (CheckpointStore(bench.storage, job_id).load("1-3") for job_id in (1, 2))
    assert all(torch.equal(value, saved.model[name]) for name, value in wanted.model.items())
    moments = [loaded.state["optimizer"]["state"] for loaded in (wanted, saved)]
    assert moments[0].keys() == moments[1].keys()
    for key, values in moments[0].items():
        assert all(torch.equal(value, moments[1][key][name]) for name, value in values.items())
    momenta = [loaded.state["optimizer"]["momentum"] for loaded in (wanted, saved)]
    assert momenta[0]
    assert all(torch.equal(value, momenta[1][name]) for name, value in momenta[0].items())


def test_a_written_checkpoint_gives_its_memory_back(tmp_path: Path):
    around, copies = Surroundings(), HostCopies(torch.device("cpu"))
    store = CheckpointStore(FolderStorage(tmp_path), 1)
    places: set[int] = set()
    with CheckpointWriter(store, around, around, Warnings(around, set()), best=None) as writer:
        for step in range(1, 5):
            model, _, claim = copies.copy({"weight": torch.full((3,), float(step))})
            places.add(model["weight"].data_ptr())
            writer.submit(snapshot(step, model=model, claim=claim))
            del model, claim
            writer.wait()
    assert len(places) == 1
    assert [float(store.load(f"1-{step}").model["weight"][0]) for step in (2, 3, 4)] == [2.0, 3.0, 4.0]


def test_a_checkpoint_that_could_not_be_written_gives_its_memory_back(tmp_path: Path):
    around, storage = Surroundings(), FullStorage(tmp_path)
    storage.full_for = MODEL_FILE
    with CheckpointWriter(CheckpointStore(storage, 1), around, around, Warnings(around, set()), best=None) as writer:
        claim = Claim()
        held = weakref.ref(claim)
        writer.submit(snapshot(1, claim=claim))
        del claim
        writer.wait()
        assert isinstance(writer.failure, StorageFullError)
        assert held() is None
