"""A training as the worker runs it, step by step, without checkpoints and previews."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from shared.audio.representation import make_representation
from shared.config import TrainConfig
from shared.planning import BatchRule
from tests.benchmarks.surroundings import Nobody
from worker.preprocess.feature_set import FeatureSet
from worker.train.data import Excerpts, TrainingData
from worker.train.evaluation import Evaluation, evaluate
from worker.train.learner import Learner, kl_weight, learning_rate
from worker.train.metrics import EpochSums, StepFacts, StepRecorder
from worker.train.plan import ExecutionPlan
from worker.train.process import keep_freed_memory
from worker.train.rng import seed_generators
from worker.train.start import begin_with_principal_components
from worker.train.timing import time_candidates

Outcome = TypeVar("Outcome")

BATCH: Final = 32
"""Chunks that are looked at together."""


class Training:
    """Data, model and loop for the files called `train`."""

    def __init__(
        self,
        features: FeatureSet,
        config: TrainConfig,
        train: Sequence[str],
        device: torch.device,
        plan: ExecutionPlan | None = None,
    ) -> None:
        """Chooses the execution plan by timing where none is given."""
        keep_freed_memory()
        self.config = config
        self.device = device
        self._features = features
        self.data = self.data_with()
        self.grid = self.data.grid(train)
        self.scaling = self.data.fit_scaling(train)
        self.data.use_scaling(self.scaling)
        self.batches = BatchRule.for_training(config, len(self.grid))
        self.total_steps = config.epochs * self.batches.steps
        self.plan = plan or self._choose_plan()
        self._start()

    def data_with(self, **changes: Any) -> TrainingData:
        """The same features, cut and augmented by another configuration."""
        config = self.config.model_copy(update=changes)
        return TrainingData(self._features, config, make_representation(config.features()), self.device)

    def use_epochs(self, epochs: int) -> None:
        """Begin anew, for `epochs` epochs."""
        self.config = self.config.model_copy(update={"epochs": epochs})
        self.total_steps = epochs * self.batches.steps
        self._start()

    def use_steps(self, steps: int) -> None:
        """Begin anew, for `steps` steps: as many epochs as that makes, the last one perhaps not whole."""
        self.use_epochs(-(-steps // self.batches.steps))
        self.total_steps = steps

    def _start(self) -> None:
        torch.set_num_threads(self.plan.threads)
        seed_generators(self.config.seed)
        self.learner = Learner(self.config, self.plan, self.device, batch_size=self.batches.bounds(0)[1])
        self.recorder = StepRecorder(
            Nobody(),
            self.device,
            total_steps=self.total_steps,
            sums=EpochSums(),
            skipped=0,
            on_skipped=ignore_skipped,
        )
        began_at = time.monotonic()
        if self.config.first_weights == "principal":
            begin_with_principal_components(self.learner, self.data, self.grid, self.config)
        self.started_s = time.monotonic() - began_at
        """Seconds that the first weights took."""
        self.done = 0
        self._examples: tuple[int, Excerpts] | None = None

    def step(self, progress: float = 0.0) -> tuple[Tensor, StepFacts]:
        """The next step: what it gave, and what is known of it.

        Learning rate and KL weight are those of `progress`, a share of the whole run, where that is further on.
        """
        began_at = time.monotonic()
        epoch, index = divmod(self.done, self.batches.steps)
        if self._examples is None or self._examples[0] != epoch:
            self._examples = epoch, self.data.epoch(self.grid, epoch)
        rate = learning_rate(self.config, max(self.done, int(progress * self.total_steps)), self.total_steps)
        weight = kl_weight(self.config, max(epoch, int(progress * self.config.epochs)))
        batch = self.data.batch(self._examples[1], *self.batches.bounds(index), self.learner.memory_format)
        row = self.learner.step(batch, learning_rate=rate, kl_weight=weight)
        self.done += 1
        seconds = time.monotonic() - began_at
        return row, StepFacts(step=self.done, epoch=epoch + 1, kl_weight=weight, learning_rate=rate, seconds=seconds)

    def run(self, steps: int | None = None) -> float:
        """Do `steps` steps, or all that are left, and report them; returns the seconds that they took."""
        began_at = time.monotonic()
        torch.set_num_threads(self.plan.threads)
        for _ in range(self.total_steps - self.done if steps is None else steps):
            self.recorder.add(*self.step())
        self.recorder.flush()
        return time.monotonic() - began_at

    def run_for(self, limit_s: float) -> float:
        """Do all steps that are left, or as many as take `limit_s` seconds, the first weights' included; returns the
        seconds that they took.

        Learning rate and KL weight follow the share of the time, where that runs out before the steps do, so that
        they come to the same end.
        """
        began_at = time.monotonic() - self.started_s
        torch.set_num_threads(self.plan.threads)
        while self.done < self.total_steps and (gone := time.monotonic() - began_at) < limit_s:
            self.recorder.add(*self.step(gone / limit_s))
        self.recorder.flush()
        return time.monotonic() - began_at

    def judge(self, held_out: Sequence[str]) -> Evaluation:
        """The model on files that it did not learn from: fixed chunks, the mean of the posterior."""
        grid = self.data.grid(held_out)
        return _whole(evaluate(self.learner, self.data, grid, self.scaling, kl_weight=1.0, go_on=lambda: True))

    def heard(self, features: Tensor) -> Tensor:
        """Features [N, C, M, T] in log1p units, on the CPU, as previews let hear what the model makes of them."""
        learner = self.learner
        parts: list[Tensor] = []
        with torch.no_grad(), learner.precision():
            for part in self.scaling.apply(features).split(BATCH):
                given = part.to(self.device).contiguous(memory_format=learner.memory_format)
                latents = _whole(learner.find_latents(given, go_on=lambda: True))
                parts.append(learner.result.decode(latents).cpu())
        return self.scaling.invert(torch.cat(parts))

    def _choose_plan(self) -> ExecutionPlan:
        excerpts = self.data.epoch(self.grid, 0)

        def make_batch(memory_format: torch.memory_format) -> Tensor:
            return self.data.batch(excerpts, *self.batches.bounds(0), memory_format)

        return _whole(time_candidates(self.config, self.device, make_batch, before_each=lambda _: True))


def _whole(result: Outcome | None) -> Outcome:
    """A result of what nobody stopped."""
    if result is None:
        raise RuntimeError("Nobody stopped it.")
    return result


def ignore_skipped(step: int, skipped: int, in_a_row: int) -> None:
    """A benchmark looks at its losses itself."""
