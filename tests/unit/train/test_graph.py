"""Steps from fixed memory: on the CPU they are computed as they come, from the memory that CUDA would replay."""

from __future__ import annotations

import copy

import pytest
import torch

from shared.config import TrainConfig
from tests.unit.train.tools import tiny_config
from worker.train.graph import RecordedStep, restore
from worker.train.learner import Learner
from worker.train.plan import ExecutionPlan, losses_agree

CPU = torch.device("cpu")
PLAIN = tiny_config()
AS_AUTO = tiny_config(first_weights="principal", keep_statistics=True, average_steps=10, optimizer="muon")
either_way = pytest.mark.parametrize("config", [PLAIN, AS_AUTO], ids=["plain", "as auto"])
RATE, WEIGHT = 2.0**-10, 0.25
"""Exact in float32, in which fixed memory holds them."""


def begun(config: TrainConfig, plan: ExecutionPlan) -> Learner:
    torch.manual_seed(0)
    return Learner(config, plan, CPU, batch_size=4)


def run(learner: Learner, sizes: list[int]) -> list[list[float]]:
    """What steps with batches of `sizes` gave."""
    torch.manual_seed(1)
    batches = [torch.randn(size, 1, 32, 32) for size in sizes]
    rows = [learner.step(batch, learning_rate=RATE / 2**n, kl_weight=WEIGHT) for n, batch in enumerate(batches)]
    return [row.tolist() for row in rows]


def kept_of(learner: Learner) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
    """Newest weights and their average, where there is one, as a checkpoint keeps them."""
    average = None if learner.average is None else learner.average.model.state_dict()
    return learner.model.state_dict(), average


@either_way
def test_a_step_from_fixed_memory_is_the_same_step(config: TrainConfig):
    eager, fixed = begun(config, ExecutionPlan()), begun(config, ExecutionPlan(graph=True))
    assert run(fixed, [4, 4, 3, 4]) == run(eager, [4, 4, 3, 4])
    for one, other in ((eager.model, fixed.model), (eager.result, fixed.result)):
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@either_way
def test_the_optimizer_is_kept_in_one_form_and_moves_between_both_ways(config: TrainConfig):
    eager, fixed = begun(config, ExecutionPlan()), begun(config, ExecutionPlan(graph=True))
    run(eager, [4, 4])
    run(fixed, [4, 4])
    kept, wanted = fixed.optimizer.state(), eager.optimizer.state()
    assert kept["param_groups"] == wanted["param_groups"]
    assert isinstance(kept["param_groups"][0]["lr"], float)
    other = Learner(config, ExecutionPlan(), CPU)
    other.restore(*kept_of(fixed), steps=2)
    other.optimizer.load(copy.deepcopy(kept))
    assert run(other, [4, 4, 3]) == run(fixed, [4, 4, 3])


def test_the_caller_may_change_its_batch_and_keeps_its_row():
    rows: list[torch.Tensor] = []

    def compute(batch: torch.Tensor, rate: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.stack([batch.sum(), rate, weight])

    step = RecordedStep(compute, list, CPU, 2)
    batch = torch.ones(2)
    for number in range(3):
        rows.append(step(batch, float(number), 0.5))
        batch.zero_()
    assert [row.tolist() for row in rows] == [[2.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 2.0, 0.5]]


def test_fixed_memory_is_for_the_usual_size_whichever_comes_first():
    places: list[int] = []

    def compute(batch: torch.Tensor, _rate: torch.Tensor, _weight: torch.Tensor) -> torch.Tensor:
        places.append(batch.data_ptr())
        return batch.sum()

    step = RecordedStep(compute, list, CPU, 4)
    batches = [torch.ones(size) for size in (3, 4, 4, 3)]
    for batch in batches:
        step(batch, RATE, WEIGHT)
    assert [place == batch.data_ptr() for place, batch in zip(places, batches, strict=True)] == [
        True,
        False,
        False,
        True,
    ]
    assert places[1] == places[2]


def test_warming_up_leaves_no_trace():
    weight, moment = torch.ones(2), torch.full((2,), 7.0)
    kept = [weight.clone()]
    weight.add_(1)
    restore([weight, moment], [weight], kept)
    assert weight.tolist() == [1.0, 1.0]
    assert moment.tolist() == [0.0, 0.0], "what did not exist before starts at 0, as the optimizer's moments do"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@either_way
def test_a_replayed_graph_is_the_same_step_also_after_a_resume(config: TrainConfig):
    device, sizes = torch.device("cuda:0"), [4, 4, 3, 4, 4]
    batches = [torch.randn(size, 1, 32, 32, generator=torch.Generator().manual_seed(size)) for size in sizes]

    def learn(learner: Learner, first: int) -> list[list[float]]:
        steps = [learner.step(each.to(device), learning_rate=RATE, kl_weight=WEIGHT) for each in batches[first:]]
        return [row.tolist() for row in steps]

    torch.manual_seed(0)
    whole = Learner(config, ExecutionPlan(graph=True), device, batch_size=4)
    begin = torch.cuda.get_rng_state(device)
    rows = learn(whole, 0)
    assert whole.recorded is not None
    assert whole.recorded.failure == ""

    torch.manual_seed(0)
    eager = Learner(config, ExecutionPlan(), device)
    torch.cuda.set_rng_state(begin, device)
    assert losses_agree(tuple(row[0] for row in learn(eager, 0)), tuple(row[0] for row in rows))

    torch.manual_seed(0)
    part = Learner(config, ExecutionPlan(graph=True), device, batch_size=4)
    torch.cuda.set_rng_state(begin, device)
    first = [part.step(each.to(device), learning_rate=RATE, kl_weight=WEIGHT).tolist() for each in batches[:2]]
    kept, optimizer, generator = kept_of(part), part.optimizer.state(), torch.cuda.get_rng_state(device)
    resumed = Learner(config, ExecutionPlan(graph=True), device, batch_size=4)
    resumed.restore(*kept, steps=2)
    resumed.optimizer.load(optimizer)
    torch.cuda.set_rng_state(generator, device)
    assert first + learn(resumed, 2) == rows
    pairs = zip(resumed.result.state_dict().values(), whole.result.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_warm_up_that_fails_leaves_no_trace():
    device = torch.device("cuda:0")
    state, calls = torch.zeros((), device=device), 0

    def compute(_batch: torch.Tensor, _rate: torch.Tensor, _weight: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        state.add_(torch.rand((), device=device))
        if calls == 2:
            raise RuntimeError("no memory\nand more")
        return state.clone()

    stream = torch.cuda.current_stream(device)
    torch.manual_seed(0)
    wanted = float(torch.rand((), device=device))
    torch.manual_seed(0)
    step = RecordedStep(compute, lambda: [state], device, 4)

    assert float(step(torch.ones(4, device=device), RATE, WEIGHT)) == wanted
    assert step.failure == "no memory"
    assert torch.cuda.current_stream(device) == stream
