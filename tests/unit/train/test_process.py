"""Memory that a step frees is there for the next one, and almost nothing counts as nothing."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import psutil
import pytest
import torch

from worker.train.process import denormals_as_zero, give_back_freed_memory, keep_freed_memory

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


def test_denormals_are_what_they_were_afterwards():
    def are_kept() -> bool:
        return bool(torch.full((8,), 1e-40).mul(0.5).all())

    assert are_kept()
    with denormals_as_zero():
        assert not are_kept()
        with denormals_as_zero(False):
            assert are_kept()
        assert not are_kept()
    assert are_kept()


@pytest.mark.skipif(sys.platform != "linux", reason="threads begin in their own mode elsewhere")
def test_denormals_are_zero_in_all_threads_of_a_training_and_in_none_that_reads_sounds():
    """In a process of its own, as a trainer's: what has started threads before stays out of it."""
    looks = """
import torch
from worker.train.process import denormals_as_zero
from worker.train.warm_up import warm_up

def left(count):
    tiny = torch.full((count,), 1e-40)
    return int((tiny * 0.5).count_nonzero())

torch.set_num_threads(2)
warm_up("cpu")
with denormals_as_zero():
    print(left(1 << 22))
torch.set_num_threads(1)
print(left(1 << 22))
"""
    told = subprocess.run([sys.executable, "-c", looks], check=True, capture_output=True, text=True, timeout=120)
    assert told.stdout.split() == ["0", str(1 << 22)]
