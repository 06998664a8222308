"""The step: what a loss that is not a number does, and the closed-form schedules."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from shared.config import OptimizerName
from shared.vae.model import ConvVAE
from tests.unit.train.tools import tiny_config
from worker.train.averages import LOOKS_EVERY, WeightAverage
from worker.train.learner import ROW, Learner, kl_weight, learning_rate
from worker.train.plan import ExecutionPlan, Precision


def _learner(precision: Precision = "float32", optimizer: OptimizerName = "adamw") -> tuple[Learner, torch.Tensor]:
    torch.manual_seed(0)
    plan = ExecutionPlan(precision=precision, channels_last=precision == "bfloat16")
    learner = Learner(tiny_config(optimizer=optimizer), plan, torch.device("cpu"))
    return learner, torch.randn(4, 1, 32, 32)


either_optimizer = pytest.mark.parametrize("optimizer", ["adamw", "muon"])


@either_optimizer
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("waits", [True, False], ids=["seen", "as on CUDA"])
def test_an_update_that_is_not_a_number_changes_nothing(precision: Precision, optimizer: OptimizerName, waits: bool):
    learner, batch = _learner(precision, optimizer)
    learner.optimizer._waits = waits
    learner.step(batch, learning_rate=1e-3, kl_weight=1.0)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    moments = [value.clone() for value in learner.optimizer.changed()]
    assert all(value.any() for value in moments)

    row = learner.step(batch * math.nan, learning_rate=1e-3, kl_weight=1.0)

    after = learner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "num_batches" not in name)
    assert all(torch.equal(kept, value) for kept, value in zip(moments, learner.optimizer.changed(), strict=True))
    assert dict(zip(ROW, row.tolist(), strict=True))["skipped"] == 1.0


def test_skipped_updates_are_counted_and_a_good_one_ends_the_row():
    learner, batch = _learner()
    for bad in (True, True, False, True):
        row = learner.step(batch * math.nan if bad else batch, learning_rate=1e-3, kl_weight=1.0)
    assert row[4:].tolist() == [3.0, 1.0]


@either_optimizer
def test_steps_make_the_loss_smaller(optimizer: OptimizerName):
    learner, batch = _learner(optimizer=optimizer)
    losses = [float(learner.step(batch, learning_rate=2e-3, kl_weight=0.0)[0]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.1


@either_optimizer
def test_moments_follow_their_parameters_into_another_memory_layout(optimizer: OptimizerName):
    torch.manual_seed(0)
    config, rate = tiny_config(dropout=0.0, optimizer=optimizer), 1e-2  # dropout's mask would differ with the layout
    plain = Learner(config, ExecutionPlan(), torch.device("cpu"))
    batch = torch.randn(4, 1, 32, 32)
    for _ in range(3):
        plain.step(batch, learning_rate=rate, kl_weight=1.0)
    other = Learner(config, ExecutionPlan(channels_last=True), torch.device("cpu"))
    other.model.load_state_dict(plain.model.state_dict())
    other.optimizer.load(copy.deepcopy(plain.optimizer.state()))

    for learner in (plain, other):
        torch.manual_seed(1)
        learner.step(batch.to(memory_format=learner.memory_format), learning_rate=rate, kl_weight=1.0)

    pairs = list(zip(plain.model.parameters(), other.model.parameters(), strict=True))
    assert any(wanted.stride() != weight.stride() for wanted, weight in pairs)
    for wanted, weight in pairs:
        if wanted.ndim == 4:  # the biases before BatchNorm have no gradient but rounding
            torch.testing.assert_close(weight, wanted, rtol=0.0, atol=rate / 100)


@pytest.mark.parametrize("keep", [True, False])
def test_statistics_that_first_weights_came_with_are_kept(keep: bool):
    torch.manual_seed(0)
    config = tiny_config(dropout=0.0, first_weights="principal", keep_statistics=keep)
    learner = Learner(config, ExecutionPlan(), torch.device("cpu"))
    batch = torch.randn(4, 1, 32, 32)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}

    row = learner.step(batch, learning_rate=1e-3, kl_weight=0.0)

    kept = {name: torch.equal(before[name], value) for name, value in learner.model.state_dict().items()}
    statistics = [kept.pop(name) for name in before if "running" in name or "num_batches" in name]
    assert statistics == [keep] * len(statistics)
    assert not any(kept.values())
    assert math.isfinite(float(row[0]))


def test_the_result_is_the_average_of_the_weights_and_the_newest_ones_without():
    learner, batch = _learner()
    learner.step(batch, learning_rate=1e-3, kl_weight=0.0)
    assert learner.result is learner.model
    learner = Learner(tiny_config(average_steps=1000), ExecutionPlan(), torch.device("cpu"))
    after: list[Tensor] = []
    for _ in range(LOOKS_EVERY):
        learner.step(batch, learning_rate=1e-2, kl_weight=0.0)
        after.append(learner.model.encoder.to_mu.weight.detach().clone())

    assert learner.result is not learner.model
    torch.testing.assert_close(learner.result.encoder.to_mu.weight, torch.stack(after).mean(dim=0))


@pytest.mark.parametrize("refined", [False, True])
def test_latents_are_those_of_the_result_and_refined_where_asked_for(refined: bool):
    config = tiny_config(dropout=0.0, average_steps=10, refine_steps=10 if refined else 0)
    learner = Learner(config, ExecutionPlan(), torch.device("cpu"))
    batch = torch.randn(4, 1, 32, 32)
    for _ in range(3 * LOOKS_EVERY):
        learner.step(batch, learning_rate=1e-2, kl_weight=0.0)

    latents = learner.find_latents(batch, go_on=lambda: True)

    assert latents is not None
    with torch.no_grad():
        mu, _ = learner.result.encode(batch)
        newest, _ = learner.model.eval().encode(batch)
        assert not torch.allclose(mu, newest, rtol=1e-3)
        errors = [(learner.result.decode(z) - batch).square().mean() for z in (latents, mu)]
    assert torch.equal(latents, mu) is not refined
    assert (errors[0] < errors[1]).item() is refined
    assert not latents.requires_grad


def test_latents_are_found_in_parts_as_large_as_a_batch_and_given_up_when_told_so():
    learner = Learner(tiny_config(dropout=0.0, refine_steps=3), ExecutionPlan(), torch.device("cpu"), batch_size=2)
    batch = torch.randn(5, 1, 32, 32)
    asked: list[int] = []
    sizes: list[int] = []
    learner.model.decoder.register_forward_hook(lambda *seen: sizes.append(len(seen[2])))

    def go_on() -> bool:
        asked.append(len(asked))
        return len(asked) <= most

    most = 9
    assert learner.find_latents(batch, go_on=go_on) is not None
    assert len(asked) == 9
    assert max(sizes) == 2
    most = 13
    assert learner.find_latents(batch, go_on=go_on) is None
    assert len(asked) == 14


@pytest.mark.parametrize("reach", [1, 3, 20])
def test_an_average_forgets_what_is_older_than_its_reach_and_goes_on_from_any_step(reach: int):
    model = ConvVAE(tiny_config().model())
    weight = model.encoder.to_mu.bias
    whole = WeightAverage(model, reach)
    averages = [whole]
    for step in range(1, 10 * LOOKS_EVERY + 1):
        with torch.no_grad():
            weight.fill_(float(step))
        for average in averages:
            average.follow()
        if step == 3 * LOOKS_EVERY + 1:
            resumed = WeightAverage(model, reach, steps=step)
            resumed.model.load_state_dict(whole.model.state_dict())
            averages.append(resumed)

    behind = float((weight.detach() - whole.model.encoder.to_mu.bias).mean())
    assert 0.0 <= behind <= 1.5 * reach + LOOKS_EVERY
    assert reach == 1 or behind > reach / 2
    found, wanted = (average.model.state_dict() for average in averages)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_a_state_from_before_muon_loads_for_adamw_alone():
    learner, batch = _learner()
    learner.step(batch, learning_rate=1e-3, kl_weight=1.0)
    before_muon = {name: each for name, each in learner.optimizer.state().items() if name != "momentum"}
    _learner()[0].optimizer.load(before_muon)
    with pytest.raises((KeyError, ValueError)):
        _learner(optimizer="muon")[0].optimizer.load(before_muon)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "as on MPS"])
def test_weight_decay_gradient_clip_and_learning_rate_reach_muon(fused: bool):
    moved: dict[tuple[float, float, float], Tensor] = {}
    momentum: dict[tuple[float, float, float], float] = {}
    for settings in ((0.0, 1.0, 1e-3), (0.5, 1.0, 1e-3), (0.0, 0.25, 1e-3), (0.0, 1.0, 2e-3)):
        decay, clip, rate = settings
        torch.manual_seed(0)
        config = tiny_config(weight_decay=decay, grad_clip=clip, optimizer="muon", dropout=0.0)
        learner = Learner(config, ExecutionPlan(), torch.device("cpu"))
        learner.optimizer._fused = fused
        weight = learner.model.decoder.from_latent.weight
        before = weight.detach().clone()
        norm = float(learner.step(torch.randn(4, 1, 32, 32), learning_rate=rate, kl_weight=1.0)[3])
        assert norm > 1.0, "or nothing is clipped"
        moved[settings] = weight.detach() - before
        momentum[settings] = float(learner.optimizer.momentum["decoder.from_latent.weight"].norm())
    plain, decayed, clipped, fast = moved.values()
    torch.testing.assert_close(decayed, plain - 0.5 * 1e-3 * before, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(clipped, plain, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(fast, 2 * plain, rtol=1e-3, atol=1e-6)
    held = list(momentum.values())
    assert held[2] == pytest.approx(held[0] / 4, rel=1e-3)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "as on MPS"])
def test_weight_decay_and_gradient_clip_reach_the_update(fused: bool):
    torch.manual_seed(0)
    config = tiny_config(weight_decay=0.05, grad_clip=0.25)
    learner = Learner(config, ExecutionPlan(), torch.device("cpu"))
    learner.optimizer._fused = fused
    norm = float(learner.step(torch.randn(4, 1, 32, 32), learning_rate=1e-3, kl_weight=1.0)[3])
    clipped = torch.cat([each.grad.flatten() for each in learner.model.parameters() if each.grad is not None]).norm()
    assert norm > config.grad_clip, "what is reported is the norm before clipping"
    assert float(clipped) == pytest.approx(config.grad_clip, rel=1e-3)
    assert [group["weight_decay"] for group in learner.optimizer.adamw.param_groups] == [0.05]


def test_the_learning_rate_falls_from_its_value_to_zero_along_a_cosine():
    config = tiny_config(learning_rate=1e-3)
    assert learning_rate(config, 0, 100) == 1e-3
    assert learning_rate(config, 50, 100) == pytest.approx(5e-4)
    assert learning_rate(config, 100, 100) == 0.0


def test_the_learning_rate_rises_first_where_it_is_told_to():
    config = tiny_config(learning_rate=1e-3, warmup_fraction=0.1)
    flat = tiny_config(learning_rate=1e-3)
    assert learning_rate(config, 0, 100) == pytest.approx(1e-4)
    assert learning_rate(config, 4, 100) == pytest.approx(learning_rate(flat, 4, 100) / 2)
    assert all(learning_rate(config, step, 100) == learning_rate(flat, step, 100) for step in range(9, 101))
    assert learning_rate(config, 0, 5) == learning_rate(flat, 0, 5)


def test_the_kl_weight_rises_over_its_share_of_the_epochs():
    config = tiny_config(epochs=10, kl_warmup_fraction=0.4, kl_weight=0.5)
    assert [kl_weight(config, epoch) for epoch in range(6)] == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
