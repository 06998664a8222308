"""Model, objective and optimizer of one training, and its single step.

    batch [B, C, M, T] --model--> loss --backward--> gradients --Optimizer--> weights

A step reads nothing back from the device. An update whose loss or gradient norm is not a finite number is
skipped there, and the running statistics of BatchNorm, which the forward pass has changed already, go back to what
they were.

Where the configuration says so, an average follows the weights, and BatchNorm keeps the statistics that it began with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from torch import Tensor, nn

from shared.config import TrainConfig
from shared.vae.loss import get_kl_weight, make_objective
from shared.vae.model import ConvVAE
from shared.vae.refinement import refine_latents
from worker.train.averages import WeightAverage
from worker.train.graph import RecordedStep
from worker.train.optimizer import Optimizer
from worker.train.plan import ExecutionPlan

ROW: Final = ("loss", "reconstruction", "kl", "grad_norm", "skipped", "skipped_in_a_row")
"""What a step gives, in this order."""


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Cosine annealing in closed form, `step` from 0: learning_rate * (1 + cos(pi * step / total_steps)) / 2.

    Source: I. Loshchilov and F. Hutter, "SGDR", 2017, without restarts. The first warmup_fraction * total_steps steps
    rise to it in a straight line. As it depends on nothing but the step, a resume meets it exactly, and a run with more
    epochs follows the longer cosine from where it is.
    """
    annealed = 0.5 * (1.0 + math.cos(math.pi * min(step, total_steps) / total_steps))
    rising = config.warmup_fraction * total_steps
    return config.learning_rate * annealed * (min(1.0, (step + 1) / rising) if rising > 1 else 1.0)


def kl_weight(config: TrainConfig, epoch: int) -> float:
    """Weight of the KL term in `epoch` (from 0)."""
    return config.kl_weight * get_kl_weight(epoch, config.epochs, config.kl_warmup_fraction)


class Learner:
    """What a training changes; `plan` says how it is computed. The caller seeds torch before."""

    def __init__(
        self, config: TrainConfig, plan: ExecutionPlan, device: torch.device, *, batch_size: int | None = None
    ) -> None:
        """`batch_size` is that of the usual batch, for which a step is recorded; None is the configuration's."""
        self.device = device
        self.memory_format = plan.memory_format
        self.model = ConvVAE(config.model()).to(device)
        self.model.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue] - torch's overloads lack it
        self.objective = make_objective(config)
        self._bfloat16 = plan.precision == "bfloat16"
        # A batch of few sounds would shift what first weights mean, and its noise would shift it on every step.
        self._steady_layers = _norm_layers(self.model) if config.keep_statistics else []
        self._average_steps = config.average_steps
        self._refine_steps = config.refine_steps
        self.average: WeightAverage | None = None
        """Follows the weights from the first step on, where the configuration says so."""
        self.optimizer = Optimizer(config, self.model, device, recorded=plan.graph)
        self._parameters = list(self.model.parameters())
        self._statistics = gather_statistics(self.model)
        self._statistics_before = torch.empty_like(self._statistics)
        self.skipped = torch.zeros((), device=device)
        """Updates that were skipped, float32, on the device."""
        self.skipped_in_a_row = torch.zeros((), device=device)
        """Those since the last good one."""
        self.before_update: Callable[[], None] = lambda: None
        """Called in each step when weights and moments are about to change, and not sooner."""
        self._usual_batch = config.batch_size if batch_size is None else batch_size
        self.recorded = RecordedStep(self._compute, self._changed, device, self._usual_batch) if plan.graph else None
        """Computes the steps where the plan says so."""

    @property
    def recording_failure(self) -> str:
        """Why steps are not recorded although the plan says so; empty where they are, or will be."""
        return self.recorded.failure if self.recorded else ""

    def precision(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)

    @property
    def result(self) -> ConvVAE:
        """The model that is judged, heard and kept: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def step(self, batch: Tensor, *, learning_rate: float, kl_weight: float) -> Tensor:
        """One update with `batch` [B, C, M, T], scaled; returns the values of ROW, float32, on the device."""
        if self._average_steps and self.average is None:
            self.average = WeightAverage(self.model, self._average_steps)
        compute = self._compute if self.recorded is None else self.recorded
        row = compute(batch, learning_rate, kl_weight)
        if self.average is not None:
            self.average.follow()
        return row

    def find_latents(self, batch: Tensor, *, go_on: Callable[[], bool]) -> Tensor | None:
        """Latents [B, latent_dim] by which `batch` [B, C, M, T], scaled, is heard: mu, refined where asked for.

        None when `go_on`, asked before each step of it, says no. Takes no more memory than a step of the training, and
        draws no random number. To be called in the context of `precision`.
        """
        model = self.result.eval()
        found: list[Tensor] = []
        for part in batch.split(self._usual_batch):
            with torch.no_grad():
                mu, _ = model.encode(part)
            latents = refine_latents(model, self.objective, part, mu, steps=self._refine_steps, go_on=go_on)
            if latents is None:
                return None
            found.append(latents)
        return torch.cat(found)

    def restore(self, model: Mapping[str, Tensor], average: Mapping[str, Tensor] | None, *, steps: int) -> None:
        """Put weights and buffers back as they were after `steps` steps; raises RuntimeError where they do not fit."""
        self.model.load_state_dict(model)
        if average is not None:
            self.average = WeightAverage(self.model, self._average_steps, steps=steps)
            self.average.model.load_state_dict(average)

    def _compute(self, batch: Tensor, learning_rate: float | Tensor, kl_weight: float | Tensor) -> Tensor:
        """The step itself: nothing is read back from the device, so that it can be recorded."""
        self.model.train()
        for layer in self._steady_layers:
            layer.eval()
        self._statistics_before.copy_(self._statistics)
        with self.precision():
            reconstruction, mu, logvar = self.model(batch)
        loss, error, kl = self.objective(reconstruction, batch, mu, logvar, kl_weight)
        self.model.zero_grad()
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        self.before_update()
        self.optimizer.update(bad, norm, learning_rate)
        with torch.no_grad():
            self._statistics.copy_(torch.where(bad, self._statistics_before, self._statistics))
            self.skipped.add_(bad)
            self.skipped_in_a_row.add_(1).mul_(bad)
            return torch.stack(
                [loss.detach(), error.detach(), kl.detach(), norm.detach(), self.skipped, self.skipped_in_a_row]
            )

    def _changed(self) -> list[Tensor]:
        """All tensors that a step changes."""
        counts = [self.skipped, self.skipped_in_a_row]
        return [*self._parameters, *self.model.buffers(), *self.optimizer.changed(), *counts]


def _norm_layers(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def gather_statistics(model: nn.Module) -> Tensor:
    """Lay the floating-point buffers of `model` (BatchNorm's running statistics) into one tensor, returned [n].

    The buffers become views of it: all of them are then kept and put back by one copy each.
    """
    owners = list(_statistics(model))
    flat = torch.cat([buffer.flatten() for _, _, buffer in owners]) if owners else torch.zeros(0)
    offset = 0
    for module, name, buffer in owners:
        setattr(module, name, flat[offset : offset + buffer.numel()].view_as(buffer))
        offset += buffer.numel()
    return flat


def _statistics(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                yield module, name, buffer
