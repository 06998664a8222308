"""What a training reports of its steps and epochs.

Step values stay on the device in a block of columns and are fetched and published at most ten times a second, so
that a GPU step never waits for its own loss. Epoch means are summed on the host, step by step in float64: they
do not depend on where the blocks ended, nor on whether the epoch was interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil
import torch
from torch import Tensor

from shared.events import MAX_STEPS_PER_EVENT, EpochMetrics, Number, StepMetrics, finite
from worker.attempt import Reporter
from worker.train.evaluation import Evaluation
from worker.train.learner import ROW

FLUSH_EVERY_S: Final = 0.1
ACTIVE_NATS: Final = 0.1
"""A latent dimension whose raw KL is at least this much carries something."""


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the steps of the epoch so far. A checkpoint keeps them."""

    loss: float = 0.0
    """Of the steps whose loss was finite."""
    steps: int = 0
    """How many those were."""
    last_loss: float = math.nan
    """Of the newest step."""

    def add(self, loss: float) -> None:
        """Count one step."""
        self.last_loss = loss
        if math.isfinite(loss):
            self.loss += loss
            self.steps += 1

    @property
    def mean(self) -> float:
        """Mean loss of the epoch so far; not a number without any."""
        return self.loss / self.steps if self.steps else math.nan

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """What the host knows of a step."""

    step: int
    """Counted from 1."""
    epoch: int
    """Counted from 1."""
    kl_weight: float
    learning_rate: float
    seconds: float
    """That the host spent on it."""


class StepRecorder:
    """Collects steps and publishes them in blocks."""

    def __init__(
        self,
        reporter: Reporter,
        device: torch.device,
        *,
        total_steps: int,
        sums: EpochSums,
        skipped: int,
        on_skipped: Callable[[int, int, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_skipped` hears (step, skipped in all, skipped in a row) of each block with skipped updates; `skipped`
        is how many there were before."""
        self.sums = sums
        self._reporter = reporter
        self._total_steps = total_steps
        self._on_skipped = on_skipped
        self._clock = clock
        self._asynchronous = device.type != "cpu"
        self._rows = torch.zeros(MAX_STEPS_PER_EVENT, len(ROW), device=device)
        self._facts: list[StepFacts] = []
        self._skipped = float(skipped)
        self._flushed_at = -math.inf
        self._block_began_at = math.nan

    def add(self, row: Tensor, facts: StepFacts) -> None:
        """Take one step's ROW values; publishes when it is time."""
        now = self._clock()
        if not self._facts:
            self._block_began_at = now - facts.seconds
        self._rows[len(self._facts)].copy_(row)
        self._facts.append(facts)
        if now - self._flushed_at >= FLUSH_EVERY_S or len(self._facts) == MAX_STEPS_PER_EVENT:
            self.flush()

    def flush(self) -> None:
        """Publish what was collected; the one place that waits for the device."""
        if not self._facts:
            return
        rows = self._rows[: len(self._facts)].tolist()
        facts, self._facts = self._facts, []
        self._flushed_at = self._clock()
        seconds = [each.seconds for each in facts]
        if self._asynchronous:
            # The host only queued those steps; together they took until now.
            seconds = [(self._flushed_at - self._block_began_at) / len(facts)] * len(facts)
        columns: list[list[float]] = [list(column) for column in zip(*rows, strict=True)]
        loss, reconstruction, kl, norm, skipped, in_a_row = columns
        for value in loss:
            self.sums.add(value)
        self._reporter.publish(
            StepMetrics(
                step=[each.step for each in facts],
                epoch=[each.epoch for each in facts],
                loss=_numbers(loss),
                reconstruction=_numbers(reconstruction),
                kl=_numbers(kl),
                kl_weight=_numbers([each.kl_weight for each in facts]),
                learning_rate=_numbers([each.learning_rate for each in facts]),
                grad_norm=_numbers(norm),
                step_time_s=_numbers(seconds),
                total_steps=self._total_steps,
            )
        )
        if skipped[-1] > self._skipped:
            self._skipped = skipped[-1]
            self._on_skipped(facts[-1].step, round(skipped[-1]), round(max(in_a_row)))

    def new_epoch(self) -> None:
        """Start the sums again; to be called after a flush."""
        self.sums = EpochSums(last_loss=self.sums.last_loss)


def make_epoch_metrics(
    *,
    epoch: int,
    epochs: int,
    step: int,
    total_steps: int,
    train_loss: float,
    train: Evaluation,
    validation: Evaluation | None,
    best: bool,
    elapsed_s: float,
    eta_s: float | None,
    device: torch.device,
) -> EpochMetrics:
    """The event of a finished epoch, `epoch` counted from 1.

    What tells of the latent is taken from the held-out files, from the training files where none are held out.
    """
    judged = train if validation is None else validation
    gap = overfitting_gap(train, validation)
    return EpochMetrics(
        epoch=epoch,
        epochs=epochs,
        step=step,
        total_steps=total_steps,
        train_loss=finite(train_loss),
        train_reconstruction=finite(train.reconstruction),
        val_loss=finite(validation.loss) if validation else None,
        val_reconstruction=finite(validation.reconstruction) if validation else None,
        val_kl=finite(validation.kl) if validation else None,
        kl_divergence=finite(math.fsum(judged.kl_per_dimension)),
        kl_per_dimension=_numbers(judged.kl_per_dimension),
        active_units=active_units(judged),
        latent_dim=len(judged.kl_per_dimension),
        overfitting_gap=gap,
        quality=None if gap is None else quality(gap),
        best=best,
        elapsed_s=elapsed_s,
        eta_s=eta_s,
        device_memory_bytes=device_memory(device),
    )


def overfitting_gap(train: Evaluation, validation: Evaluation | None) -> float | None:
    """(validation - training) / training reconstruction error; None where that cannot be said."""
    if validation is None or not train.reconstruction > 0:
        return None
    return finite((validation.reconstruction - train.reconstruction) / train.reconstruction)


def quality(gap: float) -> float:
    """1 - gap, limited to 0 … 1."""
    return min(1.0, max(0.0, 1.0 - gap))


def active_units(evaluation: Evaluation) -> int:
    """Latent dimensions that carry at least ACTIVE_NATS."""
    return sum(value >= ACTIVE_NATS for value in evaluation.kl_per_dimension)


def time_to_go(steps_done: int, steps_left: int, seconds: float) -> float | None:
    """Seconds that `steps_left` steps take at this attempt's own rate; None before its first step."""
    return steps_left * seconds / steps_done if steps_done else None


def device_memory(device: torch.device) -> int | None:
    """Bytes that this training holds on `device`; on the CPU, of the process."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return int(psutil.Process().memory_info().rss)


def _numbers(values: list[float]) -> list[Number]:
    return [finite(value) for value in values]
