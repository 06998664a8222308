"""Timing of a plan's candidates by real steps on throwaway models.

The candidates take turns, step by step: whatever else the machine does meanwhile, it does to all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from shared.config import TrainConfig
from worker.train.learner import Learner
from worker.train.plan import (
    ENOUGH_S,
    TIMED_STEPS,
    CandidateRun,
    ExecutionPlan,
    candidates,
    choose_plan,
    with_fewer_threads,
)

BatchMaker = Callable[[torch.memory_format], Tensor]


def time_candidates(
    config: TrainConfig, device: torch.device, make_batch: BatchMaker, *, before_each: Callable[[str], bool]
) -> ExecutionPlan | None:
    """Try every candidate with a batch of the training's own shape and data; None when told to stop.

    `before_each` gets a candidate's name when its turn comes first, and says whether to go on.
    """
    plans = candidates(device)
    if len(plans) == 1:
        return next(iter(plans.values()))
    runs = run_candidates(config, device, plans, make_batch, before_each)
    if runs is None:
        return None
    if device.type != "cpu":
        return choose_plan(runs, plans)
    best = choose_plan(runs, plans)
    calmer = with_fewer_threads(plans)
    first = {name: plan for name, plan in calmer.items() if plan.same_way(best)}
    # Where fewer threads are faster for the best one, the cores are busy, and the others deserve the same.
    for tried in (first, {name: plan for name, plan in calmer.items() if name not in first}):
        more = run_candidates(config, device, tried, make_batch, before_each)
        if more is None:
            return None
        runs |= more
        plans |= tried
        if choose_plan(runs, plans).threads == best.threads:
            break
    return choose_plan(runs, plans)


def run_candidates(
    config: TrainConfig,
    device: torch.device,
    plans: dict[str, ExecutionPlan],
    make_batch: BatchMaker,
    before_each: Callable[[str], bool],
) -> dict[str, CandidateRun] | None:
    """A few steps of each of `plans`, always the same weights, batch and noise; None when told to stop."""
    threads = torch.get_num_threads()
    trials: dict[str, _Trial] = {}
    try:
        for name, plan in plans.items():
            if not before_each(name):
                return None
            trials[name] = _Trial(config, device, plan, make_batch)
            trials[name].step()
        began_at = time.perf_counter()
        for _ in range(TIMED_STEPS):
            for trial in trials.values():
                trial.step()
            if time.perf_counter() - began_at > ENOUGH_S * len(trials):
                break
    finally:
        torch.set_num_threads(threads)
    return {name: trial.result() for name, trial in trials.items()}


class _Trial:
    """A throwaway training under one plan."""

    def __init__(self, config: TrainConfig, device: torch.device, plan: ExecutionPlan, make_batch: BatchMaker) -> None:
        self._config = config
        self._threads = plan.threads
        torch.manual_seed(config.seed)
        self._learner = Learner(config, plan, device)
        self._batch = make_batch(self._learner.memory_format)
        self._seconds: list[float] = []
        self._losses: list[float] = []

    def step(self) -> None:
        """One step, timed; its noise is that of every candidate's step of the same number."""
        torch.set_num_threads(self._threads)
        torch.manual_seed(self._config.seed + 1 + len(self._losses))
        began_at = time.perf_counter()
        row = self._learner.step(self._batch, learning_rate=self._config.learning_rate, kl_weight=0.0)
        self._losses.append(float(row[0]))  # waits for the device
        self._seconds.append(time.perf_counter() - began_at)

    def result(self) -> CandidateRun:
        """Without the first step's time, in which kernels are chosen and memory is fetched."""
        return CandidateRun(seconds=statistics.median(self._seconds[1:]), losses=tuple(self._losses))
