"""Timing of a plan's candidates by real steps on a throwaway model."""

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


def time_candidates(
    config: TrainConfig,
    device: torch.device,
    make_batch: Callable[[torch.memory_format], Tensor],
    *,
    before_each: Callable[[str], bool],
) -> ExecutionPlan | None:
    """Try every candidate with a batch of the training's own shape and data; None when told to stop.

    `before_each` gets a candidate's name and says whether to go on.
    """
    plans = candidates(device)
    if len(plans) == 1:
        return next(iter(plans.values()))
    runs: dict[str, CandidateRun] = {}
    for name, plan in plans.items():
        if not before_each(name):
            return None
        runs[name] = run_candidate(config, device, plan, make_batch)
    best = choose_plan(runs, plans)
    calmer = with_fewer_threads(best) if device.type == "cpu" else None
    if calmer is None:
        return best
    name = f"{calmer.threads} threads"
    if not before_each(name):
        return None
    return choose_plan({**runs, name: run_candidate(config, device, calmer, make_batch)}, {**plans, name: calmer})


def run_candidate(
    config: TrainConfig,
    device: torch.device,
    plan: ExecutionPlan,
    make_batch: Callable[[torch.memory_format], Tensor],
) -> CandidateRun:
    """A few steps under `plan`, always the same weights, batch and noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    torch.manual_seed(config.seed)
    learner = Learner(config, plan, device)
    batch = make_batch(learner.memory_format)
    seconds: list[float] = []
    losses: list[float] = []
    while len(seconds) < 1 + TIMED_STEPS and (len(seconds) < 2 or sum(seconds) < ENOUGH_S):
        begin = time.perf_counter()
        row = learner.step(batch, learning_rate=config.learning_rate, kl_weight=0.0)
        losses.append(float(row[0]))  # waits for the device
        seconds.append(time.perf_counter() - begin)
    torch.set_num_threads(threads)
    return CandidateRun(seconds=statistics.median(seconds[1:]), losses=tuple(losses))
