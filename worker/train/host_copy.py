"""Copies of a training's state in the host's memory, from which it is written while the training goes on.

    state --copy--> kept memory --CheckpointWriter--> disk

A step waits for as little of it as can be. Copies are made into kept memory: fresh memory is handed out page by page
while it is written to, which takes several times as long as the copy itself. What only the next update of the weights
changes is copied by a thread of its own on the CPU, while that step computes its gradients; the update waits for it.
On CUDA the kept memory is page-locked, so that all copies are queued at once and waited for once.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, cast

import torch
from torch import Tensor

KEPT: Final = 2
"""Copies that memory is kept for: one is written to the disk while the next one is made."""
LARGE: Final = 1 << 16
"""Bytes from which on a tensor is worth another thread."""


class Claim:
    """Whoever reads a copy holds its claim; once it is gone, the copy's memory is used again."""

    def __init__(self) -> None:
        self.moved: Future[None] | None = None

    def wait(self) -> None:
        """Return when the copy is whole."""
        if self.moved is not None:
            self.moved.result()


class HostCopies:
    """Makes copies of nested dicts, lists, tuples and tensors on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: list[_Buffers] = []
        self._mover = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._newest: Claim | None = None

    def copy(self, moving: Any, steady: Any = None) -> tuple[Any, Any, Claim]:
        """Copies of both, and what has to be held for as long as they are needed.

        `moving` may change from now on; `steady` only after `wait`, and its copy is whole after the claim's `wait`.
        """
        self.wait()
        buffers = next((each for each in self._kept if each.is_free), None)
        if buffers is None:
            buffers = _Buffers(pinned=self._device.type == "cuda")
            if len(self._kept) < KEPT:
                self._kept.append(buffers)
        claim = Claim()
        moved, left, moves = buffers.fill(moving, steady, claim)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        if moves:
            claim.moved = self._mover.submit(move_bytes, moves)
            self._newest = claim
        return moved, left, claim

    def wait(self) -> None:
        """Return when all that was to be copied is copied."""
        if self._newest is not None:
            self._newest.wait()
            self._newest = None


def move_bytes(moves: list[tuple[Tensor, Tensor]]) -> None:
    for copied, tensor in moves:
        # Plain bytes: torch's own copy would start threads beside those of the training.
        ctypes.memmove(copied.data_ptr(), tensor.data_ptr(), tensor.nbytes)


class _Buffers:
    """Memory for one copy: tensors in the order in which they are met."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._tensors: list[Tensor] = []
        self._used = 0
        self._claim: weakref.ref[Claim] | None = None
        self._moves: list[tuple[Tensor, Tensor]] | None = None

    @property
    def is_free(self) -> bool:
        return self._claim is None or self._claim() is None

    def fill(self, moving: Any, steady: Any, claim: Claim) -> tuple[Any, Any, list[tuple[Tensor, Tensor]]]:
        """Copies of both, the second but for the (copy, tensor) pairs that are still to be moved."""
        self._claim, self._used, self._moves = weakref.ref(claim), 0, None
        moved = self._copy(moving)
        moves = self._moves = []
        left, self._moves = self._copy(steady), None
        return moved, left, moves

    def _copy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            tensor = value.detach()
            copied = self._next_like(tensor)
            if self._moves is not None and tensor.nbytes >= LARGE and _same_bytes(copied, tensor):
                self._moves.append((copied, tensor))
                return copied
            return copied.copy_(tensor, non_blocking=self._pinned)
        if isinstance(value, Mapping):
            return {key: self._copy(each) for key, each in cast(Mapping[Any, Any], value).items()}
        if isinstance(value, list):
            return [self._copy(each) for each in cast(list[Any], value)]
        if isinstance(value, tuple):
            return tuple(self._copy(each) for each in cast(tuple[Any, ...], value))
        return value

    def _next_like(self, tensor: Tensor) -> Tensor:
        """The next buffer, made anew where it is none of the shape and type of `tensor`."""
        at, self._used = self._used, self._used + 1
        kept = self._tensors[at] if at < len(self._tensors) else None
        if kept is None or (kept.shape, kept.dtype) != (tensor.shape, tensor.dtype):
            kept = torch.empty_like(tensor, device="cpu", pin_memory=self._pinned)
            self._tensors[at : at + 1] = [kept]
        return kept


def _same_bytes(copied: Tensor, tensor: Tensor) -> bool:
    """Whether both lie in the CPU's memory in the same way, without gaps."""
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.device.type == "cpu" and dense and copied.stride() == tensor.stride()
