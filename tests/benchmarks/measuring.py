"""What every benchmark shares: its options, taking turns, medians, the form of a result, the machine."""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

ROUNDS: Final = 5

Figures = Mapping[str, float | str | Mapping[str, float]]
Results = Mapping[str, Figures]
"""By case: `baseline`, `ours`, `ratio`, and whatever else was seen."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may choose."""

    folder: Path
    """Empty, and removed afterwards."""
    corpus: Path | None = None
    """Folder of sounds; without it small ones are made."""
    seconds: float = 600.0
    """Training time of each model of `quality`."""
    steps: int = 1000
    """Training steps of each model of `reconstruction`."""
    device: str = "cpu"
    """Where steps are computed: cpu, mps, cuda:0 …"""


def interleaved(
    *works: Callable[[], object], rounds: int = ROUNDS, before_each: Callable[[], object] = lambda: None
) -> list[float]:
    """Median seconds of each of `works`; `before_each` comes before every turn and is not timed.

    They take turns, and each round begins with another one: whatever else the machine does, it does to all of
    them. A first turn is not counted, in which memory is fetched and kernels are chosen.
    """
    taken: list[list[float]] = [[] for _ in works]
    for work in works:
        before_each()
        work()
    for turn in range(rounds):
        for index in range(len(works)):
            which = (turn + index) % len(works)
            before_each()
            began_at = time.perf_counter()
            works[which]()
            taken[which].append(time.perf_counter() - began_at)
    return [statistics.median(each) for each in taken]


def faster(baseline_s: float, ours_s: float, **more: float | str) -> Figures:
    """A result of times: the ratio says how many times as fast ours is."""
    return {"baseline": baseline_s, "ours": ours_s, "ratio": baseline_s / ours_s, **more}


def smaller(baseline: float, ours: float, **more: float | str) -> Figures:
    """A result of errors: the ratio is ours by the baseline's, and below 1 where ours is better."""
    return {"baseline": baseline, "ours": ours, "ratio": ours / baseline, **more}


def latencies(seconds: Sequence[float]) -> Mapping[str, float]:
    """Median and 99th percentile of `seconds`, in milliseconds; the percentile is a value that was measured."""
    ordered = sorted(seconds)
    return {
        "p50_ms": statistics.median(ordered) * 1e3,
        "p99_ms": ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)] * 1e3,
    }


def machine(device: str = "cpu") -> str:
    """This machine, as far as it decides times."""
    parts = [
        f"{processor()}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__} with {torch.get_num_threads()} threads",
    ]
    if device.startswith("cuda"):
        parts.insert(0, torch.cuda.get_device_name(device))
    return ", ".join(parts)


def processor() -> str:
    """Name of the processor, as its maker writes it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
