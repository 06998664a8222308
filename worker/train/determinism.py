"""The same bits for the same work, which is what an exact resume stands on."""

from __future__ import annotations

import os

import torch


def compute_deterministically(device: torch.device) -> None:
    """Make `device` give the same bits for the same work; must come before its first product of matrices."""
    if device.type != "cuda":
        return  # the CPU and MPS do by themselves
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory hunts for bugs and costs time; it does not make results more alike.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
