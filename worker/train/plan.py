"""How a training is computed on a device: precision, memory layout, threads, recorded steps.

Which way is fastest cannot be known beforehand: on one CPU bfloat16 with channels_last is twice as fast as plain
float32, on another it is slower; where other programs keep the cores busy, fewer threads are several times faster
than all of them, which wait for each other at the end of every operation. So a few real steps of each candidate
are timed on a throwaway model, once per device, versions and shapes, and the fastest whose loss agrees with
float32 is kept in the machine's cache, unless other programs kept the processor busy meanwhile: then the next job
measures again. A job keeps the plan of its first attempt on each kind of device (`jobs/<id>/plan.json`), since
another plan would round differently and a resume would no longer be exact.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError

from shared.config import Frozen, TrainConfig
from shared.errors import NotFoundError
from shared.storage import Storage

Precision = Literal["float32", "bfloat16"]

LOSS_TOLERANCE: Final = 0.05
"""Losses agree when they differ by less than this share of 1 + |loss|: bfloat16 keeps 8 bits, a few steps add up."""
BUSY: Final = 0.2
"""Where others take more than this share of the processor, what was measured is not kept for other jobs."""
PLAN_FORMAT: Final = 4


class ExecutionPlan(Frozen):
    """How steps are computed."""

    precision: Precision = "float32"
    """Of convolutions and products; weights, losses and the optimizer are float32 always."""
    channels_last: bool = False
    """Memory layout of weights and features."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads that the CPU's operations use."""
    graph: bool = False
    """Whether whole steps are recorded once and replayed (CUDA)."""
    step_ms: dict[str, float] = {}
    """What was measured, by candidate; empty for a plan that was not chosen by timing."""
    load: float = 0.0
    """Share of the processor, 0 … 1, that other programs took meanwhile."""

    @property
    def memory_format(self) -> torch.memory_format:
        """That layout, as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def describe(self) -> str:
        """For the job's log."""
        layout = ", channels_last" if self.channels_last else ""
        recorded = ", CUDA graph" if self.graph else ""
        way = f"{self.precision}{layout}{recorded}, {self.threads} threads"
        if not self.step_ms:
            return way
        measured = ", ".join(f"{name} {value:.1f} ms" for name, value in self.step_ms.items())
        busy = f", while others took {self.load:.0%} of the processor" if self.load > BUSY else ""
        return f"{way} (a step: {measured}{busy})"


@dataclass(frozen=True, kw_only=True)
class CandidateRun:
    """What a few steps of a candidate gave."""

    seconds: float
    """Of a step, the fastest: whatever else the machine did, it only added to it."""
    losses: tuple[float, ...]


_JobPlans = TypeAdapter(dict[str, ExecutionPlan])


def candidates(device: torch.device) -> dict[str, ExecutionPlan]:
    """The plans that `device` could follow; float32 comes first and is what the others must agree with."""
    threads = torch.get_num_threads()
    plans = {"float32": ExecutionPlan(threads=threads)}
    if device.type == "mps":
        return plans
    plans["float32, channels_last"] = ExecutionPlan(channels_last=True, threads=threads)
    if device.type == "cpu" or torch.cuda.is_bf16_supported():
        plans["bfloat16, channels_last"] = ExecutionPlan(precision="bfloat16", channels_last=True, threads=threads)
    if device.type == "cuda":
        # Recorded last: what a recording that fails leaves behind cannot disturb the others.
        recorded = {name: plan.model_copy(update={"graph": True}) for name, plan in plans.items() if plan.channels_last}
        plans |= {f"{name}, graph": plan for name, plan in recorded.items()}
    return plans


def with_fewer_threads(plans: dict[str, ExecutionPlan]) -> dict[str, ExecutionPlan]:
    """The same with half of the threads, under names that say so; none where there is only one thread."""
    return {
        f"{name}, {plan.threads // 2} threads": plan.model_copy(update={"threads": plan.threads // 2})
        for name, plan in plans.items()
        if plan.threads > 1
    }


def fastest(runs: dict[str, CandidateRun]) -> str:
    """Name of the fastest whose losses agree with the first one's."""
    reference = next(iter(runs.values())).losses
    agreeing = [name for name, run in runs.items() if losses_agree(run.losses, reference)]
    return min(agreeing or runs, key=lambda name: runs[name].seconds)


def losses_agree(losses: tuple[float, ...], reference: tuple[float, ...]) -> bool:
    """Whether every loss is finite and within LOSS_TOLERANCE of float32's."""
    return all(
        math.isfinite(loss) and abs(loss - wanted) < LOSS_TOLERANCE * (1 + abs(wanted))
        for loss, wanted in zip(losses, reference, strict=False)  # a slow candidate took fewer steps
    )


def read_job_plan(storage: Storage, job_id: int, device: torch.device) -> ExecutionPlan | None:
    """The plan that the job keeps for that kind of device."""
    return _read_job_plans(storage, job_id).get(device.type)


def keep_job_plan(storage: Storage, job_id: int, device: torch.device, plan: ExecutionPlan) -> None:
    """Freeze `plan` for the job's later attempts on that kind of device."""
    plans = {**_read_job_plans(storage, job_id), device.type: plan}
    storage.write(_job_key(job_id), _JobPlans.dump_json(plans, indent=1))


def _read_job_plans(storage: Storage, job_id: int) -> dict[str, ExecutionPlan]:
    try:
        return _JobPlans.validate_json(storage.read(_job_key(job_id)))
    except (NotFoundError, ValidationError):
        return {}


def _job_key(job_id: int) -> str:
    return f"jobs/{job_id}/plan.json"


class PlanCache:
    """Plans that were measured on this machine, one file each in `folder`; they can be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "plans"

    def get(self, key: str) -> ExecutionPlan | None:
        """The plan kept under `key`."""
        try:
            return ExecutionPlan.model_validate_json((self._folder / f"{key}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def put(self, key: str, plan: ExecutionPlan) -> None:
        """Keep `plan`; where that fails it is measured again next time."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{key}.partial"
            partial.write_text(plan.model_dump_json(indent=1))
            partial.replace(self._folder / f"{key}.json")


def plan_key(config: TrainConfig, batch_size: int, device: torch.device) -> str:
    """Name of the plan for that device, these versions and shapes: whatever may change which way is fastest."""
    facts = {
        "format": PLAN_FORMAT,
        "device": device.type,
        "model": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "machine": platform.node(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "shape": config.model().model_dump(mode="json"),
        "batch": batch_size,
        "objective": config.objective,
        "optimizer": config.optimizer,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
