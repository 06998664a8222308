"""The models' convolutions against torch's own: the same maps and gradients, whichever way they are computed."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.vae import convolution
from shared.vae.convolution import DoublingConv, HalvingConv

_SHAPES: Final = {
    "a map that is multiplied": (128, 64, 2, 2),
    "one of a single row": (64, 32, 1, 1),
    "one that is not": (8, 4, 6, 10),
    "one channel": (4, 1, 3, 5),
}
"""Wide and narrow channels, rows and columns of the small side."""


@pytest.fixture(params=_SHAPES.values(), ids=_SHAPES.keys())
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int, int]:
    return request.param


def _pair(shape: tuple[int, int, int, int], *, doubling: bool) -> tuple[nn.Module, nn.Module, Tensor]:
    """Ours, torch's own with the same parameters, and an input, all in channels_last."""
    wide, narrow, rows, columns = shape
    torch.manual_seed(0)
    if doubling:
        ours: nn.Module = DoublingConv(wide, narrow)
        theirs: nn.Module = nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1)
        features = torch.randn(3, wide, rows, columns)
    else:
        ours = HalvingConv(narrow, wide)
        theirs = nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
        features = torch.randn(3, narrow, 2 * rows, 2 * columns)
    theirs.load_state_dict(ours.state_dict())
    for module in (ours, theirs):
        module.to(memory_format=torch.channels_last)
    return ours, theirs, features.to(memory_format=torch.channels_last)


def _gradients(module: nn.Module, features: Tensor, *, bfloat16: bool = False) -> list[Tensor]:
    """The output, and the gradients of input, weight and bias for one and the same loss."""
    features = features.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = module(features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (output * weights).sum().backward()
    found = [output.detach(), features.grad, *(parameter.grad for parameter in module.parameters())]
    return [tensor for tensor in found if tensor is not None]


def test_only_small_maps_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("torch's own convolution")

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(functional, name, refuse)
    for doubling in (False, True):
        ours, _, features = _pair(_SHAPES["a map that is multiplied"], doubling=doubling)
        _gradients(ours, features)
        ours, _, features = _pair(_SHAPES["one that is not"], doubling=doubling)
        with pytest.raises(AssertionError, match="torch's own convolution"):
            ours(features)


@pytest.mark.parametrize("doubling", [False, True], ids=["halving", "doubling"])
def test_output_and_gradients_are_those_of_torch(shape: tuple[int, int, int, int], doubling: bool) -> None:
    ours, theirs, features = (part.double() for part in _pair(shape, doubling=doubling))
    found, wanted = _gradients(ours, features), _gradients(theirs, features)
    assert len(found) == len(wanted) == 4
    for ours_is, theirs_is in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours_is, theirs_is, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("doubling", [False, True], ids=["halving", "doubling"])
def test_bfloat16_is_as_exact_as_torch_is(shape: tuple[int, int, int, int], doubling: bool) -> None:
    ours, theirs, features = _pair(shape, doubling=doubling)
    exact = _gradients(theirs.double(), features.double())
    theirs.float().load_state_dict(ours.state_dict())
    theirs.zero_grad()
    found, usual = _gradients(ours, features, bfloat16=True), _gradients(theirs, features, bfloat16=True)
    for ours_is, theirs_is, truth in zip(found, usual, exact, strict=True):
        assert ours_is.dtype == theirs_is.dtype
        assert _distance(ours_is, truth) < 2 * _distance(theirs_is, truth) + 1e-4


def _distance(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def test_gradient_of_a_transposed_weight_is_the_very_same() -> None:
    ours, theirs, features = _pair(_SHAPES["one that is not"], doubling=True)
    for which in (0, 1, 2):  # output, input, weight; the bias is summed in another order
        assert torch.equal(_gradients(ours, features)[which], _gradients(theirs, features)[which])
        ours.zero_grad()
        theirs.zero_grad()


@pytest.mark.parametrize("doubling", [False, True], ids=["halving", "doubling"])
def test_a_weight_in_the_usual_layout_will_do(doubling: bool) -> None:
    ours, theirs, features = _pair(_SHAPES["a map that is multiplied"], doubling=doubling)
    for module in (ours, theirs):
        module.to(memory_format=torch.contiguous_format)
    for ours_is, theirs_is in zip(_gradients(ours, features), _gradients(theirs, features), strict=True):
        torch.testing.assert_close(ours_is, theirs_is)


def test_a_weights_gradient_lies_in_memory_as_the_weight_does(shape: tuple[int, int, int, int]) -> None:
    ours, _, features = _pair(shape, doubling=True)
    gradient, sums = convolution.correlate(features, ours(features).detach(), ours.weight.detach(), sums=True)
    assert gradient.shape == ours.weight.shape
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(sums, features.sum((0, 2, 3)))
    assert convolution.correlate(features, ours(features).detach(), ours.weight.detach(), sums=False)[1] is None


@pytest.mark.parametrize("doubling", [False, True], ids=["halving", "doubling"])
def test_nothing_is_computed_that_nobody_asks_for(doubling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _, features = _pair(_SHAPES["one that is not"], doubling=doubling)

    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("nobody asked for this")

    output = ours(features)  # the first layer: its input has no gradient
    with monkeypatch.context() as patch:
        patch.setattr(convolution, "halve" if doubling else "double", refuse)
        output.sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
    ours.requires_grad_(False)  # a model that only judges: its weights have none
    output = ours(features.requires_grad_())
    with monkeypatch.context() as patch:
        patch.setattr(convolution, "correlate", refuse)
        output.sum().backward()
    assert features.grad is not None
