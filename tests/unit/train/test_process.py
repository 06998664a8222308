"""Memory that a step frees is there for the next one, and almost nothing counts as nothing."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import psutil
import pytest

from worker.train.process import give_back_freed_memory, keep_freed_memory

SIZE = 24 << 20
"""Bytes of a large tensor: 6,144 pages of 4 KiB."""
TENSORS = 6
MOST_FAULTS = 100
"""Page faults that whatever else the process does may cost."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_memory_is_used_again_without_page_faults():
    keep_freed_memory()
    take_and_free()
    assert take_and_free() < MOST_FAULTS


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_a_set_up_freed_can_be_handed_to_the_system():
    keep_freed_memory()
    take_and_free()
    before = psutil.Process().memory_info().rss

    give_back_freed_memory()

    assert before - psutil.Process().memory_info().rss > TENSORS * SIZE // 2


def take_and_free() -> int:
    """Page faults of a few large tensors that live at the same time, as a step's do."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken = [bytearray(SIZE) for _ in range(TENSORS)]
    assert len(taken) == TENSORS
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_trainer_that_has_warmed_up_takes_no_time_over_denormals_in_any_thread():
    """In a process of its own: threads keep the mode that their first thread had when it started them."""
    looks = """
import torch
from worker.train.warm_up import warm_up
torch.set_num_threads(2)
warm_up("cpu")
tiny = torch.full((1 << 22,), 1e-40)
print(int((tiny * 0.5).count_nonzero()), int((tiny.view(1 << 11, -1) @ torch.eye(1 << 11)).count_nonzero()))
"""
    told = subprocess.run([sys.executable, "-c", looks], check=True, capture_output=True, text=True, timeout=120)
    assert told.stdout.split() == ["0", "0"]
