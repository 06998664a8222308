"""Execution plans: the fastest that agrees, kept by the machine and frozen in the job."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from shared.events import LogLine
from shared.storage import FolderStorage
from tests.unit.train.tools import Bench, Surroundings, tiny_config
from worker.train import obtaining, timing
from worker.train.plan import (
    CandidateRun,
    ExecutionPlan,
    PlanCache,
    candidates,
    fastest,
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
        ((1.0, 0.5), 0.5, "other"),
        ((1.02, 0.52), 0.5, "other"),
        ((1.0, 0.5), 2.0, "float32"),
        ((1.0, 0.9), 0.5, "float32"),
        ((1.0, math.nan), 0.5, "float32"),
        ((1.0,), 0.5, "other"),
    ],
)
def test_the_fastest_whose_loss_agrees_is_chosen(losses: tuple[float, ...], seconds: float, chosen: str):
    runs = {
        "float32": CandidateRun(seconds=1.0, losses=(1.0, 0.5)),
        "other": CandidateRun(seconds=seconds, losses=losses),
    }
    assert fastest(runs) == chosen


def test_real_steps_decide_and_leave_the_number_of_threads_alone(monkeypatch: pytest.MonkeyPatch):
    # However busy the machine is: every candidate is timed to the end.
    monkeypatch.setattr(timing, "HOPELESS", math.inf)
    monkeypatch.setattr(timing, "ENOUGH_S", 0.0)
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
    assert 0.0 <= plan.load <= 1.0
    assert torch.get_num_threads() == plan.threads == 1


class FakeTrial:
    """A candidate whose times are given by `seconds`, "<precision>/<threads>" at a time, 1 s being usual."""

    seconds_of: ClassVar[dict[str, float]] = {}
    failures: ClassVar[dict[str, str]] = {}
    taken: ClassVar[list[tuple[str, int]]] = []
    """Layout and threads of every turn."""

    def __init__(self, _config: object, _device: object, plan: ExecutionPlan, _make_batch: object) -> None:
        self.plan = plan
        self.layout = f"{plan.precision}/{plan.threads}" if plan.channels_last else "plain"
        self.first_s = self.seconds_of.get(self.layout, 1.0)
        self.seconds: list[float] = []
        self.failure = ""
        self.turns = -1

    def probe(self) -> float:
        return self.seconds_of.get(f"{self.layout} probe", 1.0)

    def turn(self) -> None:
        self.turns += 1
        self.taken.append((self.layout.partition("/")[0], self.plan.threads))
        if self.layout in self.failures:
            raise RuntimeError(self.failures[self.layout])
        if self.turns:
            self.seconds.append(self.seconds_of.get(self.layout, 1.0))

    def result(self) -> CandidateRun:
        return CandidateRun(seconds=min(self.seconds), losses=(1.0,))


def choose(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], failures: dict[str, str] | None = None
) -> tuple[ExecutionPlan, list[str]]:
    """The plan that fake times lead to on two threads, and what was logged."""
    monkeypatch.setattr(FakeTrial, "seconds_of", seconds)
    monkeypatch.setattr(FakeTrial, "failures", failures or {})
    monkeypatch.setattr(FakeTrial, "taken", [])
    monkeypatch.setattr(timing, "Trial", FakeTrial)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    logged: list[str] = []
    plan = time_candidates(tiny_config(), CPU, lambda _: torch.zeros(0), before_each=lambda _: True, log=logged.append)
    assert plan is not None
    return plan, logged


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"bfloat16/2": 0.5}, ("bfloat16", 2)),
        ({"float32/2": 0.9, "float32/1": 0.4}, ("float32", 1)),
        ({"bfloat16/2": 0.5, "bfloat16/1": 0.6}, ("bfloat16", 2)),
    ],
)
def test_fewer_threads_are_tried_for_the_fastest_way(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: tuple[str, int]
):
    plan, logged = choose(monkeypatch, seconds)
    assert (plan.precision, plan.threads) == chosen
    assert len(plan.step_ms) == 4
    assert logged == []


def test_only_the_fastest_way_takes_more_turns_with_fewer_threads(monkeypatch: pytest.MonkeyPatch):
    choose(monkeypatch, {"float32/2": 2.0, "bfloat16/2": 2.0})
    fewer = FakeTrial.taken.index(("plain", 1))
    assert set(FakeTrial.taken[fewer:]) == {("plain", 1), ("plain", 2)}


@pytest.mark.parametrize("slow", ["bfloat16/2 probe", "bfloat16/2"])
def test_a_hopeless_candidate_is_left_out_at_once_and_said_to_be(monkeypatch: pytest.MonkeyPatch, slow: str):
    plan, logged = choose(monkeypatch, {slow: 10.0, "float32/2": 0.9})
    assert plan.precision == "float32"
    assert not any("bfloat16" in name for name in plan.step_ms)
    assert len(logged) == 1
    assert "bfloat16, channels_last" in logged[0]
    assert "times as slow" in logged[0]


def test_a_candidate_that_fails_is_left_out_and_said_to_be(monkeypatch: pytest.MonkeyPatch):
    plan, logged = choose(monkeypatch, {"bfloat16/2": 0.1}, {"bfloat16/2": "out of memory\nand more"})
    assert plan.precision == "float32"
    assert logged == ["Left out bfloat16, channels_last: out of memory"]


def test_what_cannot_be_computed_in_float32_is_an_error(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RuntimeError, match="out of memory"):
        choose(monkeypatch, {}, {"plain": "out of memory"})


def test_recorded_steps_are_tried_on_cuda_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    graphs = [name for name, plan in candidates(torch.device("cuda")).items() if plan.graph]
    assert graphs == ["float32, channels_last, graph", "bfloat16, channels_last, graph"]
    assert not any(plan.graph for device in ("cpu", "mps") for plan in candidates(torch.device(device)).values())


@pytest.mark.parametrize(("load", "kept"), [(0.1, True), (0.5, False)])
def test_what_was_measured_on_a_busy_machine_is_the_jobs_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, load: float, kept: bool
):
    measured: list[ExecutionPlan] = []

    def measure(*_: object, **__: object) -> ExecutionPlan:
        measured.append(ExecutionPlan(step_ms={"float32": 1.0}, load=load))
        return measured[-1]

    monkeypatch.setattr(obtaining, "time_candidates", measure)
    for job_id in (1, 2):
        first, second = Surroundings(stop_at=1), Surroundings(stop_at=2)
        bench.plan = None
        bench.train(bench.attempt(tiny_config(), job_id=job_id), first)
        bench.train(bench.attempt(tiny_config(), job_id=job_id, attempt=2, resume=True), second)
        assert any("Computes as before" in line.message for line in second.of(LogLine))
    assert len(measured) == (1 if kept else 2)
    assert ("while others took" in measured[0].describe()) != kept


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
