"""The random generators of a training: seeded at its start, kept in checkpoints, put back by a resume."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy, torch and every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states(device: torch.device) -> dict[str, Any]:
    """Their states, plain values and tensors, which later draws do not change."""
    numpy: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = numpy
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "device_kind": device.type,
        "device": _device_state(device),
    }


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put `generator_states` back; a device of another kind keeps its own generator as it was seeded."""
    random.setstate(states["python"])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if states["device_kind"] == device.type and states["device"] is not None:
        if device.type == "cuda":
            torch.cuda.set_rng_state(states["device"], device)
        else:
            torch.mps.set_rng_state(states["device"])


def _device_state(device: torch.device) -> Tensor | None:
    """The generator of `device`; None for the CPU, whose generator is torch's own."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None
