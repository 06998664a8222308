"""What else this machine does: processor time and memory that other programs take, and other workers on it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

from shared.devices import Device, memory_by_process
from shared.settings import Settings
from worker.locks import holders

_WINDOW_S: Final = 60.0
_EVERY_S: Final = 10.0
"""Looking at all processes costs some milliseconds."""


def own_processes(data: Path) -> list[psutil.Process]:
    """All processes of all workers on the data folder, this one's among them."""
    found: dict[int, psutil.Process] = {}
    for pid in {os.getpid(), *(holder.pid for holder in holders(data))}:
        try:
            worker = psutil.Process(pid)
            found |= {process.pid: process for process in (worker, *worker.children(recursive=True))}
        except psutil.Error:
            continue  # it ended meanwhile
    return list(found.values())


class Neighbours:
    """The load that others put on the machine, as a mean of the last minute. `look` is to be called often."""

    def __init__(self, data: Path, device: Device) -> None:
        self._data = data
        self._device = device
        self._seen: deque[tuple[float, float, float]] = deque()
        """When; processor seconds of the machine that were not idle, and those of Spectrain."""
        self._looked_at = float("-inf")
        self.load: float | None = None
        """Share of the machine's processors, 0 … 1; None until there is something to compare."""
        self.memory_bytes: int | None = None
        """Memory of the device that others use; None where the system does not tell."""

    def look(self) -> None:
        """Measure, unless that was done moments ago."""
        now = time.monotonic()
        if now - self._looked_at < _EVERY_S:
            return
        self._looked_at = now
        processes = own_processes(self._data)
        own_s = _seconds_of(processes)
        if self._seen and own_s < self._seen[-1][2]:
            self._seen.clear()  # a worker ended, and its seconds with it
        self._seen.append((now, _busy_s(), own_s))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        if len(self._seen) > 1:
            (began_at, busy_before, own_before), (_, busy, own) = self._seen[0], self._seen[-1]
            others_s = (busy - busy_before) - (own - own_before)
            self.load = min(1.0, max(0.0, others_s / ((now - began_at) * (psutil.cpu_count() or 1))))
        self.memory_bytes = _memory_of_others(self._device, processes)


def cpu_threads(settings: Settings, device: Device) -> int | None:
    """Threads for a trainer of `device`; None to leave it to torch, which takes all cores."""
    if settings.threads is not None:
        return settings.threads
    if device.kind != "cpu":
        return None
    workers = sum(holder.device == "cpu" for holder in holders(settings.data))
    return None if workers < 2 else max(1, cores() // workers)


def cores() -> int:
    """Processor cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


def thread_environment(threads: int | None) -> dict[str, str]:
    """Variables that the numeric libraries read when they load."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {} if threads is None else dict.fromkeys(names, str(threads))


def _busy_s() -> float:
    times = psutil.cpu_times()
    # On Linux, guests are counted within user time already.
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    return sum(times) - idle_s - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)


def _seconds_of(processes: Iterable[psutil.Process]) -> float:
    total_s = 0.0
    for process in processes:
        try:
            # With those of its children that are gone: what a trainer used does not vanish with it.
            times = process.cpu_times()
        except psutil.Error:
            continue
        total_s += times.user + times.system + getattr(times, "children_user", 0.0)
        total_s += getattr(times, "children_system", 0.0)
    return total_s


def _memory_of_others(device: Device, processes: Iterable[psutil.Process]) -> int | None:
    own = {process.pid: process for process in processes}
    if device.kind == "cuda":
        used = memory_by_process(device)
        # In a container the driver may tell ids of processes that mean nothing here.
        if used is None or not all(psutil.pid_exists(pid) for pid in used):
            return None
        return sum(size for pid, size in used.items() if pid not in own)
    memory = psutil.virtual_memory()
    resident = 0
    for process in own.values():
        try:
            resident += process.memory_info().rss
        except psutil.Error:
            continue
    return max(0, memory.total - memory.available - resident)
