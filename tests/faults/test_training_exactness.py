"""A training that was cancelled and resumed, several times, equals one that never was: bit for bit."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from shared.config import Representation, TrainConfig
from shared.events import CheckpointSaved, EpochMetrics, StepMetrics
from shared.planning import STAGES
from tests.faults.counting import Fault
from tests.unit.train.tools import Bench, Surroundings, one_thread_and_no_delay, tiny_config
from worker.train.checkpoint import CheckpointStore
from worker.train.plan import ExecutionPlan, Precision

NOT_EXACT = {"elapsed_s", "eta_s", "device_memory_bytes"}
"""What a clock or the system tells."""
STEPS_PER_EPOCH = 8
"""Of the tiny training: 8 chunks, each twice, two in a batch."""
NARROW = (2, 4, 8, 16, 32, 64)
"""Channels of a model as deep as the real one, thirty checkpoints of which are 4 GB."""
EVERYTHING_RANDOM: dict[str, Any] = {
    "gain_probability": 0.7,
    "shift_probability": 0.7,
    "augment_probability": 0.8,
    "speed_probability": 0.5,
    "pitches": (-3.0, 3.0),
    "pitch_probability": 0.5,
    "noise_probability": 0.5,
    "noise_db": -20.0,
    "mix_probability": 0.5,
    "equalizer_probability": 0.5,
    "spectral_weight": 0.5,
    "average_steps": 10,
    "optimizer": "muon",
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps are reported at once, so that a test can stop at any of them."""
    with one_thread_and_no_delay(monkeypatch):
        yield


@pytest.mark.parametrize(
    ("representation", "precision", "stops"),
    [
        ("mel", "float32", [3, 4, 8, 13, 16, 23]),
        ("mel", "bfloat16", [5, 17]),
        ("mel_if", "float32", [11]),
        ("mel_if", "bfloat16", [6]),
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    representation: Representation,
    precision: Precision,
    stops: list[int],
):
    if precision == "bfloat16":
        monkeypatch.setitem(STAGES, "mel_if", NARROW)  # without units for it a real step takes seconds
    plan = ExecutionPlan(precision=precision, channels_last=precision == "bfloat16")
    as_auto: dict[str, Any] = {
        "first_weights": "principal",
        "keep_statistics": True,
        "average_steps": 10,
        "optimizer": "muon",
    }
    if STAGES[representation] == NARROW:
        as_auto = {"optimizer": "muon"}  # principal components need a model as wide as the real one
    config = tiny_config(representation, epochs=3 if representation == "mel" else 2, **as_auto)
    _check_that_stops_change_nothing(Bench(tmp_path, plan=plan), config, stops)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_row_19_thirty_interruptions_at_random_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, representation: Representation, fault: Fault
):
    monkeypatch.setitem(STAGES, "mel_if", NARROW)
    config = tiny_config(representation, epochs=6, **EVERYTHING_RANDOM)
    total = 6 * STEPS_PER_EPOCH
    stops = sorted(random.Random(representation).sample(range(1, total), 30))
    fault.injected(len(stops))
    _check_that_stops_change_nothing(Bench(tmp_path), config, stops)
    fault.held(len(stops))
    fault.note(f"{representation}: weights, optimizer and losses equal bit for bit")


def _check_that_stops_change_nothing(bench: Bench, config: TrainConfig, stops: list[int]) -> None:
    """Train once as a whole, and once with an attempt after each of `stops`: everything but clocks is equal."""
    whole = Surroundings()
    assert bench.train(bench.attempt(config, job_id=1), whole).outcome == "completed"
    parts = [Surroundings(stop_at=stop) for stop in stops] + [Surroundings()]
    for number, part in enumerate(parts, start=1):
        # Something else drew random numbers in between, as another process would.
        torch.manual_seed(number)
        attempt = bench.attempt(config, job_id=2, attempt=number, resume=number > 1)
        result = bench.train(attempt, part)
        assert result.outcome == ("cancelled" if number <= len(stops) else "completed"), result
        if number <= len(stops):
            saved = part.of(CheckpointSaved)[-1]
            assert (saved.step, saved.reason, result.step) == (stops[number - 1], "cancel", stops[number - 1])

    assert _steps(parts) == _steps([whole])
    assert _epochs(parts) == _epochs([whole])
    assert _final(bench, 2) == _final(bench, 1)


def test_a_training_can_be_extended_and_then_follows_the_longer_cosine(tmp_path: Path):
    bench = Bench(tmp_path)
    short, long = tiny_config(epochs=1), tiny_config(epochs=2)
    first, second = Surroundings(), Surroundings()
    bench.train(bench.attempt(short), first)

    result = bench.train(bench.attempt(long, attempt=2, resume=True), second)

    steps = second.of(StepMetrics)
    assert result.outcome == "completed"
    assert steps[0].step[0] == first.step + 1
    assert steps[-1].step[-1] == steps[0].total_steps == 2 * first.step
    halfway = long.learning_rate / 2
    assert steps[0].learning_rate[0] == pytest.approx(halfway)


def _steps(parts: list[Surroundings]) -> list[tuple[Any, ...]]:
    """(step, epoch, loss, reconstruction, kl, kl weight, learning rate, gradient norm) of every step, in order."""
    rows: list[tuple[Any, ...]] = []
    for event in (event for part in parts for event in part.of(StepMetrics)):
        rows += zip(
            event.step,
            event.epoch,
            event.loss,
            event.reconstruction,
            event.kl,
            event.kl_weight,
            event.learning_rate,
            event.grad_norm,
            strict=True,
        )
    return rows


def _epochs(parts: list[Surroundings]) -> list[dict[str, Any]]:
    return [event.model_dump(exclude=NOT_EXACT) for part in parts for event in part.of(EpochMetrics)]


def _final(bench: Bench, job_id: int) -> dict[str, Any]:
    """Weights, optimizer, generators and counters at the end, tensors as hashes of their bytes."""
    store = CheckpointStore(bench.storage, job_id)
    loaded = store.load(store.names()[0])
    assert loaded.manifest.reason == "final"
    state = {key: value for key, value in loaded.state.items() if key != "position"}
    position = {key: value for key, value in loaded.state["position"].items() if key != "best_checkpoint"}
    return cast(dict[str, Any], _plain({"model": loaded.model, "state": state, "position": position}))


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        content = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), hashlib.sha256(content).hexdigest()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast(list[Any], value)]
    return value
