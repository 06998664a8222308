"""What the CPU's steps ask of their process: memory that is used again, and no time spent on almost nothing."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import torch

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = (1 << 30, 32 << 20)
"""Bytes below which memory comes from the heap; older versions of the C library allow no more than the second."""
_NEVER: Final = 2**31 - 1


@contextmanager
def denormals_as_zero(wanted: bool = True) -> Generator[None]:
    """Let numbers below 1e-38 count as zero meanwhile, in this thread and, on Linux, for good in those that it starts.

    Momentum and moments of weights that get no gradient any more halve every few steps, for ever: after a thousand
    steps they are so small that processors compute with them a hundred times slower than with others (measured: one
    thread that does makes whole steps take twice as long). What reads sounds has to know such numbers, though: a very
    quiet file is no silent one.
    """
    before = not bool(torch.full((), 1e-40) * 1.0)
    torch.set_flush_denormal(wanted)  # false where the processor knows no such mode: it is slower there, no more
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def give_back_freed_memory() -> None:
    """Hand what was freed so far to the system, once: after a set-up that took more than the steps will."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let the C library keep what the process frees from now on; does nothing without glibc.

    Each step takes and frees the same large tensors. By itself glibc hands them back to the system, which clears every
    page of them when the next step takes them again: some 20,000 page faults, a tenth of a step.
    """
    if sys.platform != "linux":
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_option(_M_TRIM_THRESHOLD, _NEVER)
    any(set_option(_M_MMAP_THRESHOLD, size) for size in _LARGEST)
