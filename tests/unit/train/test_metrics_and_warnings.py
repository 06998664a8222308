"""What is reported of steps and epochs, and what a person is warned of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from shared.errors import TrainingError
from shared.events import StepMetrics, Warned
from tests.unit.train.tools import Surroundings
from worker.train import metrics
from worker.train.evaluation import Evaluation
from worker.train.metrics import (
    EpochSums,
    StepFacts,
    StepRecorder,
    active_units,
    make_epoch_metrics,
    overfitting_gap,
    quality,
    time_to_go,
)
from worker.train.warnings import MOST_SKIPPED_IN_A_ROW, Warnings, smaller_latent


def evaluation(reconstruction: float, kl: list[float] | None = None) -> Evaluation:
    """One with that error."""
    return Evaluation(loss=0.1, reconstruction=reconstruction, kl=2.0, kl_per_dimension=kl or [1.0, 0.05])


def facts(step: int) -> StepFacts:
    """Of a step that took 20 ms."""
    return StepFacts(step=step, epoch=1, kl_weight=0.5, learning_rate=1e-3, seconds=0.02)


def recorder(around: Surroundings, clock: list[float], **values: Any) -> StepRecorder:
    """On the CPU, with a clock that the test turns."""
    return StepRecorder(
        around,
        torch.device("cpu"),
        total_steps=100,
        sums=EpochSums(),
        skipped=0,
        on_skipped=values.get("on_skipped", lambda *_: None),
        clock=lambda: clock[0],
    )


def row(loss: float, skipped: float = 0.0, in_a_row: float = 0.0) -> torch.Tensor:
    """The ROW of a step."""
    return torch.tensor([loss, 2.0, 3.0, 4.0, skipped, in_a_row])


def test_steps_travel_in_blocks_ten_times_a_second(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "FLUSH_EVERY_S", 0.1)
    around, clock = Surroundings(), [0.0]
    steps = recorder(around, clock)

    for step in range(1, 12):
        steps.add(row(float(step)), facts(step))
        clock[0] += 0.02
    steps.flush()

    blocks = around.of(StepMetrics)
    assert [block.step for block in blocks] == [[1], [2, 3, 4, 5, 6], [7, 8, 9, 10, 11]]
    assert blocks[1].loss == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert blocks[1].grad_norm == [4.0] * 5


def test_a_loss_that_is_not_a_number_travels_as_null_and_stays_out_of_the_mean():
    around = Surroundings()
    seen: list[tuple[int, int, int]] = []
    steps = recorder(around, [0.0], on_skipped=lambda *counts: seen.append(counts))

    steps.add(row(1.0), facts(1))
    steps.add(row(math.nan, skipped=1.0, in_a_row=1.0), facts(2))
    steps.add(row(3.0, skipped=1.0), facts(3))

    assert [block.loss for block in around.of(StepMetrics)] == [[1.0], [None], [3.0]]
    assert steps.sums.mean == 2.0
    assert seen == [(2, 1, 1)]


def test_sums_survive_a_checkpoint():
    sums = EpochSums()
    sums.add(0.1)
    again = EpochSums(**sums.to_state())
    sums.add(0.2)
    again.add(0.2)
    assert again == sums


def test_epoch_metrics_tell_gap_quality_and_active_units():
    event = make_epoch_metrics(
        epoch=2,
        epochs=4,
        step=20,
        total_steps=40,
        train_loss=math.inf,
        train=evaluation(1.0),
        validation=evaluation(1.25),
        best=True,
        elapsed_s=10.0,
        eta_s=time_to_go(20, 20, 10.0),
        device=torch.device("cpu"),
    )
    assert (event.overfitting_gap, event.quality, event.active_units, event.latent_dim) == (0.25, 0.75, 1, 2)
    assert (event.train_loss, event.eta_s) == (None, 10.0)
    assert event.device_memory_bytes is not None


@pytest.mark.parametrize(("gap", "bar"), [(-0.5, 1.0), (0.0, 1.0), (0.25, 0.75), (3.0, 0.0)])
def test_the_quality_bar_lies_between_0_and_1(gap: float, bar: float):
    assert quality(gap) == bar


def test_without_held_out_files_there_is_no_gap():
    assert overfitting_gap(evaluation(1.0), None) is None
    assert time_to_go(0, 10, 0.0) is None
    assert active_units(evaluation(1.0, [0.1, 0.0999])) == 1


def judge(warnings: Warnings, **values: Any) -> None:
    """An ordinary epoch but for `values`."""
    warnings.judge_epoch(
        **{
            "epoch": 5,
            "epochs": 10,
            "best_epoch": 5,
            "step": 50,
            "train": evaluation(1.0, [1.0, 1.0, 1.0]),
            "validation": evaluation(1.1, [1.0, 1.0, 1.0]),
            "warmed_up": True,
            **values,
        }
    )


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"validation": evaluation(1.21, [1.0])}, "overfitting"),
        ({"validation": evaluation(1.0, [0.01, 0.02])}, "collapse"),
        ({"validation": evaluation(1.0, [1.0, 0.02, 0.01])}, "latent_too_large"),
        ({"validation": None, "train": evaluation(1.0, [1.0, 0.02, 0.01])}, "latent_too_large"),
        ({"epoch": 40, "epochs": 60, "best_epoch": 20}, "plateau"),
    ],
)
def test_each_condition_is_said_once(values: dict[str, Any], code: str):
    around = Surroundings()
    warnings = Warnings(around, set())
    judge(warnings, **values)
    judge(warnings, **values)
    assert [warning.code for warning in around.of(Warned)] == [code]
    assert around.of(Warned)[0].advice


@pytest.mark.parametrize(("epochs", "patience"), [(10, 5), (60, 12), (100, 20), (500, 40)])
def test_a_plateau_is_said_in_time_and_again_after_a_new_best(epochs: int, patience: int):
    around = Surroundings()
    warnings = Warnings(around, set())
    for epoch in range(1, 200):
        judge(warnings, epoch=epoch, epochs=epochs, best_epoch=100 if epoch >= 100 else 1)
    messages = [warning.message for warning in around.of(Warned)]
    assert messages == [
        f"It is no longer improving: best at epoch {best}, no better in {patience} epochs since." for best in (1, 100)
    ]


def test_a_run_without_any_finite_error_has_no_best_to_fall_behind():
    around = Surroundings()
    judge(Warnings(around, set()), epoch=90, epochs=100, best_epoch=0)
    assert around.events == []


def test_an_ordinary_epoch_and_a_latent_still_warming_up_are_no_news():
    around = Surroundings()
    judge(Warnings(around, set()))
    judge(Warnings(around, set()), warmed_up=False, validation=evaluation(1.0, [0.0, 0.0]))
    assert around.events == []


def test_losses_that_stay_not_a_number_end_the_training_in_plain_words():
    around = Surroundings()
    warnings = Warnings(around, set())
    warnings.judge_skipped(7, 1, 1)
    with pytest.raises(TrainingError, match="learning_rate"):
        warnings.judge_skipped(90, 51, MOST_SKIPPED_IN_A_ROW)
    assert [warning.code for warning in around.of(Warned)] == ["not_a_number"]


@pytest.mark.parametrize(("active", "latent"), [(1, 2), (2, 2), (5, 8), (8, 8), (9, 16), (30, 32)])
def test_the_advised_latent_has_room_for_what_is_in_use(active: int, latent: int):
    assert smaller_latent(active) == latent
