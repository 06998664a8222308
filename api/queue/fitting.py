"""Whether a worker may run a job now: the rules of placement, as pure functions over what is known of both.

What lasts (device, labels, name, memory in all, version) is asked of every worker that is online; what passes (other
programs, free memory) of those that are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.devices import Device, parse_device
from shared.events import WorkerHeartbeat
from shared.placement import DailyHours, Placement
from shared.version import VERSION

CUDA_FLOOR_BYTES: Final = 512 << 20
"""Free memory below which no training can begin on a CUDA device: its context and its smallest model take as much."""
_IDLE_LOAD: Final = 0.15
"""Share of the processors up to which other programs count as none, when a job is about to start."""
_BUSY_LOAD: Final = 0.3
"""Share from which a running job makes way; higher, so that jobs do not come and go."""
_IDLE_MEMORY_BYTES: Final = 768 << 20
"""CUDA memory that a desktop holds without anybody computing."""
_MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What decides which workers may run a job, and when."""

    device: str
    """auto, a kind of device, or one device."""
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What the scheduler knows of a worker that is online."""

    name: str
    host: str
    device: Device
    labels: frozenset[str]
    """Its own ones and those that a person gave it."""
    drained: bool = False
    stopping: bool = False
    version: str = VERSION
    """Version of Spectrain that it runs."""
    job_id: int | None = None
    """What it says it is busy with."""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_others_bytes: int | None = None
    others_load: float | None = None
    """Share of the machine's processors that other programs use, 0 … 1; None where it has not been measured."""

    @property
    def place(self) -> str:
        """How a sentence names it: by the name that a person gave it, where there is one."""
        named = self.name != f"{self.host}/{self.device.name}"
        return self.name if named else f"{self.device.name} on {self.host}"

    @property
    def free_bytes(self) -> int | None:
        """Memory of the device that nothing holds; None where the system does not tell."""
        if self.memory_total_bytes is None or self.memory_used_bytes is None:
            return None
        return max(0, self.memory_total_bytes - self.memory_used_bytes)


def facts_of(heartbeat: WorkerHeartbeat, *, labels: frozenset[str] = frozenset(), drained: bool = False) -> WorkerFacts:
    """A worker's heartbeat together with what a person decided about it."""
    device = heartbeat.device
    return WorkerFacts(
        name=heartbeat.name,
        host=heartbeat.host,
        device=parse_device(device.name),
        labels=labels.union(heartbeat.labels),
        drained=drained,
        stopping=heartbeat.state == "stopping",
        version=heartbeat.versions.get("spectrain", ""),
        job_id=heartbeat.job_id,
        memory_total_bytes=device.memory_total_bytes,
        memory_used_bytes=device.memory_used_bytes,
        memory_others_bytes=device.memory_others_bytes,
        others_load=heartbeat.others_load,
    )


def may_work(worker: WorkerFacts) -> bool:
    """Whether the worker may be given any job at all."""
    return not worker.drained and not worker.stopping and worker.version == VERSION


def suits(worker: WorkerFacts, needs: Needs) -> bool:
    """Whether the worker is one that such a job may run on, whatever it does at the moment."""
    placement = needs.placement
    return (
        worker.device.fits(needs.device)
        and (not placement.worker or placement.worker == worker.name)
        and (not placement.labels or worker.labels.issuperset(placement.labels))
        and has_memory(worker, needs)
    )


def has_memory(worker: WorkerFacts, needs: Needs) -> bool:
    """Whether the worker's device has the wanted memory at all, whoever holds it at the moment."""
    return worker.memory_total_bytes is None or worker.memory_total_bytes >= needs.placement.min_free_memory_bytes


def lacks_memory(worker: WorkerFacts, needs: Needs) -> int:
    """Bytes that must be free on the worker's device and are not all free; 0 where there are enough."""
    floor = CUDA_FLOOR_BYTES if worker.device.kind == "cuda" else 0
    wanted = max(needs.placement.min_free_memory_bytes, floor)
    free = worker.free_bytes
    return wanted if free is not None and free < wanted else 0


def is_idle(worker: WorkerFacts) -> bool:
    """Whether no other program keeps the machine busy, so that a job which wants that may start."""
    return worker.others_load is not None and worker.others_load <= _IDLE_LOAD and not holds_much(worker)


def is_wanted_back(worker: WorkerFacts) -> bool:
    """Whether other programs want the machine that a job runs on as long as nobody does."""
    return (worker.others_load or 0.0) >= _BUSY_LOAD or holds_much(worker)


def holds_much(worker: WorkerFacts) -> bool:
    """Whether other programs hold more of the CUDA device's memory than a desktop does."""
    return worker.device.kind == "cuda" and (worker.memory_others_bytes or 0) > _IDLE_MEMORY_BYTES


def fits_now(worker: WorkerFacts, needs: Needs) -> bool:
    """Whether a free worker may be given such a job now."""
    return (
        suits(worker, needs)
        and not lacks_memory(worker, needs)
        and (not needs.placement.only_when_idle or is_idle(worker))
    )


def is_open(hours: DailyHours | None, minute: int) -> bool:
    """Whether `minute` of the day is within `hours`, which may go over midnight; no hours are always."""
    if hours is None or hours.start == hours.end:
        return True
    start, end = _minute(hours.start), _minute(hours.end)
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def _minute(clock_time: str) -> int:
    hour, _, minute = clock_time.partition(":")
    return (int(hour) * 60 + int(minute)) % _MINUTES_A_DAY
