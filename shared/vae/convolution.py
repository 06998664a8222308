"""The models' two convolutions, 3 x 3 of stride 2, with gradients that are fast on a processor.

One weight [W, N, 3, 3] gives three maps, each the gradient of the others, so that three functions are all there is:

    halve      wide [B, N, 2H, 2W] -> narrow [B, W, H, W]
    double     narrow -> wide, its adjoint
    correlate  (narrow, wide) -> weight, the gradient of both, with the sums that are the first one's bias gradient

`HalvingConv` runs forward by `halve` and back by `double`, `DoublingConv` the other way round; to torch they are a
Conv2d and a ConvTranspose2d with the same parameters. Two things make them faster than torch's own on a processor
(torch 2.13 with oneDNN 3.12; 2 cores with AMX units, bfloat16, batch 32). The gradient of a transposed convolution's
weight is computed as that of the plain convolution which it is: bit for bit the same, in 0.8 instead of 4.7 ms for 64
to 32 channels at 32 x 24. And small maps are multiplied as matrices, since oneDNN's kernels work along their rows: the
weight's gradient of 1,024 x 512 channels at 4 x 3 takes 2.8 instead of 25 ms, in float32 11 instead of 27 ms.
"""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from typing_extensions import override

_SMALL: Final = 2048
"""Maps with so many times fewer cells than the weight has pairs of channels are multiplied as matrices (measured)."""
_TAPS: Final = tuple((row, column) for row in range(3) for column in range(3))


class HalvingConv(nn.Conv2d):
    """[B, narrow, 2H, 2W] -> [B, wide, H, W]: a 3 x 3 convolution of stride 2, padding 1."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, 3, stride=2, padding=1)

    @override
    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        return cast(Tensor, _Halve.apply(*_as_autocast(input, self.weight, self.bias)))


class DoublingConv(nn.ConvTranspose2d):
    """[B, wide, H, W] -> [B, narrow, 2H, 2W]: its transposed counterpart, whose output padding of 1 doubles exactly."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(wide, narrow, 3, stride=2, padding=1, output_padding=1)

    @override
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if input.device.type != "cpu" or output_size is not None:
            return super().forward(input, output_size)
        return cast(Tensor, _Double.apply(*_as_autocast(input, self.weight, self.bias)))


def halve(wide: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, W, H, W'] of [B, N, 2H, 2W'], a weight [W, N, 3, 3] and perhaps a bias [W]."""
    rows, columns = wide.shape[2] // 2, wide.shape[3] // 2
    if not _is_small(weight, rows * columns):
        return functional.conv2d(wide, weight, bias, stride=2, padding=1)
    cells = functional.linear(_gather(wide), _matrix(weight), bias)
    return cells.view(len(wide), rows, columns, -1).permute(0, 3, 1, 2)


def double(narrow: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, N, 2H, 2W'] of [B, W, H, W'], a weight [W, N, 3, 3] and perhaps a bias [N]."""
    if not _is_small(weight, narrow.shape[2] * narrow.shape[3]):
        return functional.conv_transpose2d(narrow, weight, bias, stride=2, padding=1, output_padding=1)
    return _scatter(_cells(narrow) @ _matrix(weight), narrow.shape, bias)


def correlate(narrow: Tensor, wide: Tensor, weight: Tensor, *, sums: bool) -> tuple[Tensor, Tensor | None]:
    """The gradient of `weight` [W, N, 3, 3] where [B, W, H, W'] and [B, N, 2H, 2W'] met.

    With `sums` those of the first come too, [W].
    """
    if not _is_small(weight, narrow.shape[2] * narrow.shape[3]):
        wanted = [False, True, sums]
        _, found, summed = torch.ops.aten.convolution_backward(
            narrow, wide, weight, [len(weight)], [2, 2], [1, 1], [1, 1], False, [0, 0], 1, wanted
        )
        return cast(Tensor, found), cast("Tensor | None", summed if sums else None)
    cells = _cells(narrow)
    product = cells.T @ _gather(wide)
    return product.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2), cells.sum(dim=0) if sums else None


class _Halve(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, wide: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(wide, weight)
        return halve(wide, weight, bias)

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        [narrow] = grad_outputs
        wide, weight = ctx.saved_tensors
        back = double(narrow, weight) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return back, None, None
        learnt, summed = correlate(narrow, wide, weight, sums=True)
        return back, learnt, summed


class _Double(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, narrow: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(narrow, weight)
        return double(narrow, weight, bias)

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        [wide] = grad_outputs
        narrow, weight = ctx.saved_tensors
        back = halve(wide, weight) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return back, None, None
        return back, correlate(narrow, wide, weight, sums=False)[0], wide.sum((0, 2, 3))


def _is_small(weight: Tensor, cells: int) -> bool:
    if not weight.is_contiguous(memory_format=torch.channels_last):
        return False  # it would have to be copied first
    return cells * _SMALL <= weight.shape[0] * weight.shape[1]


def _matrix(weight: Tensor) -> Tensor:
    """[W, 9 N], a view of a weight [W, N, 3, 3] in channels_last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _cells(narrow: Tensor) -> Tensor:
    """[B H W', W] of [B, W, H, W']."""
    return narrow.permute(0, 2, 3, 1).reshape(-1, narrow.shape[1])


def _gather(wide: Tensor) -> Tensor:
    """[B H W', 9 N] of [B, N, 2H, 2W']: what each of the nine taps sees."""
    examples, channels, height, width = wide.shape
    padded = functional.pad(wide.permute(0, 2, 3, 1), (0, 0, 1, 0, 1, 0))
    seen = wide.new_empty(examples, height // 2, width // 2, 9, channels)
    for tap, (row, column) in enumerate(_TAPS):
        seen[:, :, :, tap] = padded[:, row : row + height : 2, column : column + width : 2]
    return seen.view(-1, 9 * channels)


def _scatter(seen: Tensor, narrow: torch.Size, bias: Tensor | None) -> Tensor:
    """[B, N, 2H, 2W'] of [B H W', 9 N], its adjoint; `narrow` is the shape [B, W, H, W']."""
    examples, _, rows, columns = narrow
    taps = seen.view(examples, rows, columns, 9, -1)
    padded = seen.new_zeros(examples, 2 * rows + 1, 2 * columns + 1, taps.shape[-1])
    if bias is not None:
        padded += bias
    for tap, (row, column) in enumerate(_TAPS):
        padded[:, row : row + 2 * rows : 2, column : column + 2 * columns : 2] += taps[:, :, :, tap]
    return padded[:, 1:, 1:].contiguous().permute(0, 3, 1, 2)


def _as_autocast(features: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor | None]:
    """What torch's own convolution would be given here: under autocast that is another type."""
    tensors = [features, weight, bias]
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    dtype = torch.get_autocast_dtype("cpu")
    return [tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors]
