"""Processes that are ended, stopped and continued, with proof that it happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

_POLL_S = 0.002


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below `pid`, in whatever session."""
    return psutil.Process(pid).children(recursive=True)


def seconds_until_gone(processes: Iterable[psutil.Process], limit_s: float) -> float:
    """Wait until all have ended; returns how long that took. Raises AssertionError after `limit_s`.

    One whose parent ended stays listed until the system's first process asks for its exit status, which may take that
    one seconds; it holds nothing any more.
    """
    started = time.monotonic()
    alive = list(processes)
    while alive := [process for process in alive if _lives(process)]:
        assert time.monotonic() - started < limit_s, f"still there after {limit_s:.1f} s: {alive}"
        time.sleep(_POLL_S)
    return time.monotonic() - started


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def stop_all(pids: Iterable[int]) -> None:
    """SIGSTOP, and wait until the system says that each process is stopped, one at least; others may have ended."""
    processes: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it may end at any moment
            processes.append(psutil.Process(pid))
            os.kill(pid, signal.SIGSTOP)
    for process in processes:
        # The system stops a process at its next return from a call; nothing tells when.
        deadline = time.monotonic() + 30.0
        while _lives(process) and not _is_stopped(process):
            assert time.monotonic() < deadline, f"{process} did not stop"
            time.sleep(_POLL_S)
    assert any(map(_is_stopped, processes)), "there was nothing to stop"


def continue_all(pids: Iterable[int]) -> None:
    """SIGCONT to each process that is still there."""
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)
