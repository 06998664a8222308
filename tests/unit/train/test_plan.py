"""Execution plans: the fastest that agrees, kept by the machine and frozen in the job."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.storage import FolderStorage
from tests.unit.train.tools import tiny_config
from worker.train import timing
from worker.train.plan import (
    CandidateRun,
    ExecutionPlan,
    PlanCache,
    candidates,
    choose_plan,
    keep_job_plan,
    plan_key,
    read_job_plan,
)
from worker.train.timing import time_candidates

CPU = torch.device("cpu")
PLANS = {"float32": ExecutionPlan(), "other": ExecutionPlan(precision="bfloat16")}


@pytest.mark.parametrize(
    ("losses", "seconds", "chosen"),
    [
        ((1.0, 0.5), 0.5, "bfloat16"),
        ((1.02, 0.52), 0.5, "bfloat16"),
        ((1.0, 0.5), 2.0, "float32"),
        ((1.0, 0.9), 0.5, "float32"),
        ((1.0, math.nan), 0.5, "float32"),
        ((1.0,), 0.5, "bfloat16"),
    ],
)
def test_the_fastest_whose_loss_agrees_is_chosen(losses: tuple[float, ...], seconds: float, chosen: str):
    runs = {
        "float32": CandidateRun(seconds=1.0, losses=(1.0, 0.5)),
        "other": CandidateRun(seconds=seconds, losses=losses),
    }
    plan = choose_plan(runs, PLANS)
    assert plan.precision == chosen
    assert plan.step_ms == {"float32": 1000.0, "other": seconds * 1000}


def test_real_steps_decide_and_leave_the_number_of_threads_alone():
    torch.manual_seed(0)
    batch = torch.rand(4, 1, 32, 32)
    tried: list[str] = []

    def before_each(name: str) -> bool:
        tried.append(name)
        return True

    plan = time_candidates(
        tiny_config(), CPU, lambda memory_format: batch.to(memory_format=memory_format), before_each=before_each
    )

    assert tried == list(candidates(CPU))
    assert plan is not None
    assert set(plan.step_ms) == set(tried)
    assert torch.get_num_threads() == plan.threads == 1


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [({"bfloat16/2": 0.5}, ("bfloat16", 2), 4), ({"bfloat16/1": 0.4, "float32/1": 0.3}, ("float32", 1), 6)],
)
def test_fewer_threads_are_tried_where_the_cores_may_be_busy(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: tuple[str, int], tried: int
):
    names: list[str] = []

    def run(*arguments: Any) -> dict[str, CandidateRun]:
        plans: dict[str, ExecutionPlan] = arguments[2]
        names.extend(plans)
        return {
            name: CandidateRun(seconds=seconds.get(f"{plan.precision}/{plan.threads}", 1.0), losses=(1.0,))
            for name, plan in plans.items()
        }

    monkeypatch.setattr(timing, "run_candidates", run)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    plan = time_candidates(tiny_config(), CPU, lambda _: torch.zeros(0), before_each=lambda _: True)

    assert plan is not None
    assert (plan.precision, plan.threads) == chosen
    assert len(names) == tried


def test_timing_can_be_stopped():
    plan = time_candidates(tiny_config(), CPU, lambda _: torch.rand(4, 1, 32, 32), before_each=lambda _: False)
    assert plan is None


def test_the_machine_keeps_a_plan_by_its_key(tmp_path: Path):
    cache = PlanCache(tmp_path)
    cache.put("key", PLANS["other"])
    assert cache.get("key") == PLANS["other"]
    assert cache.get("another") is None
    (tmp_path / "plans" / "key.json").write_text("{")
    assert cache.get("key") is None


def test_another_shape_is_another_key():
    keys = {plan_key(config, batch, CPU) for config in (tiny_config(), tiny_config("mel_if")) for batch in (2, 4)}
    assert len(keys) == 4


def test_a_job_keeps_one_plan_for_each_kind_of_device(tmp_path: Path):
    storage = FolderStorage(tmp_path)
    assert read_job_plan(storage, 1, CPU) is None
    keep_job_plan(storage, 1, CPU, PLANS["float32"])
    keep_job_plan(storage, 1, torch.device("mps"), PLANS["other"])
    assert read_job_plan(storage, 1, CPU) == PLANS["float32"]
    assert read_job_plan(storage, 1, torch.device("mps")) == PLANS["other"]
