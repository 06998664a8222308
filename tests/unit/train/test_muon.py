"""Muon: singular values that are all alike, and updates that torch's own Muon agrees with."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn

from shared.config import Representation
from shared.vae.convolution import DoublingConv, HalvingConv
from tests.unit.train.tools import tiny_config
from worker.train.learner import Learner
from worker.train.muon import BLOCK, NORM, InnerWeight, Muon, orthogonalizer
from worker.train.plan import ExecutionPlan

CPU = torch.device("cpu")
GOOD = torch.tensor(False)
ONE = torch.ones(())


def _muon(weight: nn.Parameter, *, weight_decay: float = 0.0, inputs: float = 1.0, outputs: float = 1.0) -> Muon:
    return Muon({"w": InnerWeight(weight=weight, inputs=inputs, outputs=outputs)}, weight_decay)


def _matrix(rows: int, columns: int, weakest: float) -> torch.Tensor:
    """Singular values from 1 down to `weakest`."""
    generator = torch.Generator().manual_seed(rows)
    left, _, right = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    return left @ torch.diag(torch.logspace(0, torch.tensor(weakest).log10(), min(rows, columns))) @ right


@pytest.mark.parametrize(("rows", "columns"), [(8, 200), (64, 64), (1, 30)])
def test_all_directions_of_a_matrix_come_to_the_same_length(rows: int, columns: int):
    matrix = _matrix(rows, columns, 0.02)
    found = orthogonalizer(matrix) @ matrix
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ found @ right.T
    lengths = along.diagonal()
    assert found.shape == matrix.shape
    assert float(lengths.min()) > 0.68
    assert float(lengths.max()) < 1.21
    assert float((along - along.diagonal().diag()).abs().max()) < 1e-3, "the directions stay what they are"


def test_the_length_of_a_matrix_says_nothing_and_without_any_it_stays_zero():
    matrix = _matrix(16, 40, 0.1)
    short, long = (orthogonalizer(matrix * length) @ (matrix * length) for length in (1e-9, 1e9))
    torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-5)
    nothing = torch.zeros(4, 9)
    assert not (orthogonalizer(nothing) @ nothing).any()


@pytest.mark.parametrize("good", [None, GOOD], ids=["known", "as on CUDA"])
@pytest.mark.parametrize(("rows", "columns"), [(24, 60), (60, 24)])
def test_updates_are_those_of_torch_within_the_precision_of_its_iteration(
    rows: int, columns: int, good: torch.Tensor | None
):
    """Torch's own iterates in bfloat16, takes matrices alone and cannot skip an update."""
    ours, theirs = (nn.Parameter(_matrix(rows, columns, 0.05)) for _ in range(2))
    muon = _muon(ours, weight_decay=0.3, inputs=columns, outputs=rows)
    # Theirs has a spectral norm of 0.2 * sqrt(the larger of both) at a learning rate of 1, by which weights decay, too.
    faster = NORM * (rows / columns) ** 0.5 / (0.2 * max(rows, columns) ** 0.5)
    wanted = torch.optim.Muon([theirs], weight_decay=0.3 / faster, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    before = ours.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        rate = 0.01 / (step + 1)
        gradient = torch.randn(rows, columns, generator=generator)
        ours.grad, theirs.grad = gradient * 4.0, gradient.clone()
        muon.step(torch.tensor(rate), torch.tensor(0.25), good)
        for group in wanted.param_groups:
            group["lr"] = rate * faster
        wanted.step()
    assert float((ours - theirs).detach().norm() / (ours - before).detach().norm()) < 0.02
    torch.testing.assert_close(muon.momentum["w"], wanted.state[theirs]["momentum_buffer"])


def test_a_kernel_is_updated_as_the_matrix_that_it_is_whatever_its_place_in_memory():
    kernel = _matrix(6, 4 * 9, 0.1).reshape(6, 4, 3, 3)
    gradient = _matrix(6, 4 * 9, 0.3).flip(1).reshape(6, 4, 3, 3)
    updated: list[torch.Tensor] = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(kernel.clone().to(memory_format=memory_format))
        weight.grad = gradient.clone().to(memory_format=memory_format)
        muon = _muon(weight, inputs=4)
        muon.step(torch.tensor(0.1), ONE, None)
        assert muon.momentum["w"].stride() == weight.stride()
        updated.append(weight.detach())
    torch.testing.assert_close(updated[0], updated[1])
    flat = gradient.flatten(1)
    wanted = kernel.flatten(1) - 0.1 * NORM / 2 * orthogonalizer(flat) @ flat
    torch.testing.assert_close(updated[0].flatten(1), wanted, rtol=1e-3, atol=1e-4)


def test_large_matrices_are_updated_in_blocks():
    rows = 2 * BLOCK + 5
    weight = nn.Parameter(torch.zeros(rows, 500))
    weight.grad = _matrix(rows, 500, 0.1)
    _muon(weight).step(ONE, ONE, None)
    for block, gradient in zip(weight.detach().tensor_split(3), weight.grad.tensor_split(3), strict=True):
        wanted = -NORM * orthogonalizer(gradient) @ gradient
        torch.testing.assert_close(block, wanted, rtol=1e-3, atol=1e-3)


def test_a_flag_on_the_device_says_that_nothing_changes():
    weight = nn.Parameter(torch.ones(3, 5))
    muon = _muon(weight, weight_decay=0.3)
    nothing, endless = float("nan"), float("inf")
    for gradient, scale in ((1.0, 1.0), (nothing, nothing), (endless, 0.0), (1.0, endless)):
        weight.grad = torch.full((3, 5), gradient)
        before = [weight.detach().clone(), muon.momentum["w"].clone()]
        bad = (gradient, scale) != (1.0, 1.0)
        muon.step(torch.tensor(0.1), torch.tensor(scale), torch.tensor(bad))
        assert all(map(torch.equal, before, (weight, muon.momentum["w"]))) == bad


def test_muon_is_for_the_weights_inside_the_model_alone():
    inside = Learner(tiny_config(optimizer="muon"), ExecutionPlan(), CPU).optimizer
    assert not Learner(tiny_config(), ExecutionPlan(), CPU).optimizer.momentum
    assert all(name.endswith("weight") for name in inside.momentum)
    assert {"encoder.blocks.4.weight", "encoder.to_mu.weight", "decoder.from_latent.weight"} < set(inside.momentum)
    model = Learner(tiny_config(optimizer="muon"), ExecutionPlan(), CPU).model
    first, last = model.encoder.blocks[0], model.decoder.blocks[-1]
    outside = {id(weight) for layer in (first, last) for weight in layer.parameters()}
    assert not any(id(weight) in outside for name, weight in model.named_parameters() if name in inside.momentum)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_an_update_changes_what_comes_of_a_layer_by_as_much_whatever_its_size(representation: Representation):
    """By the root mean square of what comes out, where what goes in has one of 1 and is what changes most of all."""
    learner = Learner(tiny_config(representation, optimizer="muon"), ExecutionPlan(), CPU)
    torch.manual_seed(1)
    layers = {name.removesuffix(".weight") for name in learner.optimizer.momentum}
    for weight in learner.model.parameters():
        weight.grad = torch.randn_like(weight)
        nn.init.zeros_(weight)

    learner.optimizer.update(torch.tensor(False), ONE, 0.1)

    gains = {"halving": [], "doubling": [], "linear": []}
    for name in layers:
        layer = learner.model.get_submodule(name)
        kind = (
            "halving" if isinstance(layer, HalvingConv) else "doubling" if isinstance(layer, DoublingConv) else "linear"
        )
        nn.init.zeros_(cast(nn.Parameter, layer.bias))
        gains[kind].append(_largest_gain(layer) / (0.1 * NORM))
    assert all(0.6 < gain < 1.3 for kind in ("linear", "halving") for gain in gains[kind])
    assert all(0.3 < gain < 0.7 for gain in gains["doubling"])
    assert min(map(len, gains.values())) >= 3


def _largest_gain(layer: nn.Module) -> float:
    """Of root mean squares, by power iteration through the layer and its adjoint."""
    shape = (1, layer.in_features) if isinstance(layer, nn.Linear) else (1, cast(int, layer.in_channels), 16, 16)
    given = torch.randn(shape)
    for _ in range(30):
        given = (given / given.square().mean().sqrt()).requires_grad_()
        result = layer(given)
        gain = float(result.detach().square().mean().sqrt())
        [given] = torch.autograd.grad(result, given, result.detach())
    return gain
