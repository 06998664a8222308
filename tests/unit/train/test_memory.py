"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import platform
import resource

import psutil
import pytest

from worker.train.memory import give_back_freed_memory, keep_freed_memory

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
