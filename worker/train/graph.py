"""A whole training step as one recorded CUDA graph: on a GPU small models wait for the host's kernel launches.

    batch, learning rate, KL weight --copied into fixed memory--> replay (forward, loss, backward, update) --> row

A graph repeats the same kernels on the same memory, so whatever differs from step to step stands in tensors that do
not move. Dropout and the latent's noise come from torch's default generator, whose position each replay takes and
moves on as the eager step does: its state in a checkpoint is all that a resume needs. One graph is recorded, when the
first batch of the usual size comes; a batch of another size (an epoch's last) is computed without one. Where there is
no CUDA, or where recording fails, every step is computed without one from the same memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(batch, learning rate, KL weight), the last two float32 scalars on the device -> row; reads nothing back."""

WARM_UP_STEPS: Final = 3
"""Steps before recording, in which libraries choose their kernels and gradients and moments get their memory."""


class RecordedStep:
    """Computes steps from fixed memory, on CUDA by replaying a graph."""

    def __init__(
        self, compute: Compute, changed: Callable[[], list[Tensor]], device: torch.device, batch_size: int
    ) -> None:
        """Records for batches of `batch_size` examples.

        `changed` gives the tensors that a step changes: warming up must leave no trace in them.
        """
        self._compute = compute
        self._changed = changed
        self._device = device
        self._batch_size = batch_size
        self._rate = torch.zeros((), device=device)
        self._weight = torch.zeros((), device=device)
        self._batch: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._row = torch.zeros(0)
        self.failure = ""
        """Why no graph could be recorded."""

    def __call__(self, batch: Tensor, learning_rate: float, kl_weight: float) -> Tensor:
        """One step; its row is the caller's."""
        self._rate.fill_(learning_rate)
        self._weight.fill_(kl_weight)
        if len(batch) != self._batch_size:
            return self._compute(batch, self._rate, self._weight)
        if self._batch is None:
            self._batch = batch.clone()
            if self._device.type == "cuda":
                self._record(self._batch)
        self._batch.copy_(batch)
        if self._graph is None:
            return self._compute(self._batch, self._rate, self._weight)
        self._graph.replay()
        return self._row.clone()

    def _record(self, batch: Tensor) -> None:
        stream = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            self._warm_up(batch, stream)
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._row = self._compute(batch, self._rate, self._weight)
            self._graph = graph
        except RuntimeError as error:
            # A recording that broke off leaves its own stream behind.
            torch.cuda.set_stream(stream)
            self.failure = str(error).partition("\n")[0]

    def _warm_up(self, batch: Tensor, stream: torch.cuda.Stream) -> None:
        """A few steps on a stream of their own, as recording wants it; then, or if one fails, all is as it was."""
        before = self._changed()
        kept = [tensor.detach().clone() for tensor in before]
        generator = torch.cuda.get_rng_state(self._device)
        beside = torch.cuda.Stream(self._device)
        beside.wait_stream(stream)
        try:
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP_STEPS):
                    self._compute(batch, self._rate, self._weight)
        finally:
            stream.wait_stream(beside)
            torch.cuda.set_rng_state(generator, self._device)
            restore(self._changed(), before, kept)


def restore(now: list[Tensor], before: list[Tensor], kept: list[Tensor]) -> None:
    """Put back into `before` what was `kept` of them; tensors of `now` that were not there yet start at 0."""
    known = {id(tensor) for tensor in before}
    with torch.no_grad():
        for tensor, value in zip(before, kept, strict=True):
            tensor.copy_(value)
        for tensor in now:
            if id(tensor) not in known:
                tensor.zero_()
