"""How things are at the moment when monitoring asks: the queue, the workers and their devices, the api's own parts.

Nothing here asks Redis, so the answer comes at once while Redis is away. What the record is asked is answered from its
indexes and kept for some seconds, however many ask.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from api.readiness import Part
from api.record.database import Database
from api.record.queue_settings import paused_at
from api.record.tables import Job, Outbox
from shared.events import WorkerHeartbeat
from shared.jobs import ACTIVE, JobState

_KEPT_S: Final = 5.0
_WORKER: Final = ("worker", "device")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ActiveJob:
    """A job that has a device."""

    id: int
    kind: str
    worker: str
    device: str
    steps_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """What the record says of the queue."""

    jobs: Mapping[str, int]
    """Jobs in each state that has any."""
    oldest_at: float | None
    """Since when the job waits that has waited longest; None where none waits."""
    active: Sequence[ActiveJob]
    outbox: int
    """Events of the api that are not on the event bus yet."""
    paused: bool


class Standing(Collector):
    """`workers` tells those that are online, `sockets` how many browsers are connected, `data` is the data folder."""

    def __init__(
        self,
        *,
        database: Database,
        workers: Callable[[], Mapping[str, WorkerHeartbeat]],
        parts: Sequence[Part],
        sockets: Callable[[], int],
        data: Path,
    ) -> None:
        self._database = database
        self._workers = workers
        self._parts = parts
        self._sockets = sockets
        self._data = data
        self._figures: QueueFigures | None = None
        self._read_at = float("-inf")
        self._reading = threading.Lock()

    @override
    def collect(self) -> Iterator[Metric]:
        """Every metric, also those that have no value now."""
        figures = self._queue_figures()
        yield from _of_queue(figures)
        yield from _of_workers(self._workers().values())
        troubles = {part.name: bool(part.trouble) for part in self._parts} | {"record": figures is None}
        yield _gauge(
            "spectrain_part_trouble",
            "1 where a part of the api cannot work, 0 where it can; /readyz says why.",
            ("part",),
            [((name,), float(bad)) for name, bad in troubles.items()],
        )
        yield _gauge("spectrain_sockets_open", "Browsers that are connected.", (), [((), self._sockets())])
        yield _gauge("spectrain_disk_free_bytes", "Free space of the data folder's disk.", (), _free(self._data))

    def _queue_figures(self) -> QueueFigures | None:
        """As of the last seconds; None while the record does not answer."""
        with self._reading:
            if time.monotonic() - self._read_at > _KEPT_S:
                try:
                    self._figures = read_figures(self._database)
                except SQLAlchemyError as error:
                    log.warning("metrics.no_record", error=type(error).__name__)
                    self._figures = None
                self._read_at = time.monotonic()
            return self._figures


def read_figures(database: Database) -> QueueFigures:
    """Ask the record."""
    with database.reading() as session:
        counts = session.execute(select(Job.state, func.count()).group_by(Job.state))
        jobs = {str(state): int(count) for state, count in counts}
        active = session.execute(
            select(Job.id, Job.kind, Job.worker, Job.device, Job.summary).where(
                Job.state.in_([state.value for state in ACTIVE])
            )
        )
        return QueueFigures(
            jobs=jobs,
            oldest_at=session.scalar(select(func.min(Job.queued_at)).where(Job.state == JobState.QUEUED.value)),
            active=[
                ActiveJob(
                    id=row.id,
                    kind=row.kind,
                    worker=row.worker,
                    device=row.device,
                    steps_per_s=row.summary.get("steps_per_s"),
                )
                for row in active
            ],
            outbox=session.scalar(select(func.count()).select_from(Outbox)) or 0,
            paused=paused_at(session) is not None,
        )


def _of_queue(figures: QueueFigures | None) -> Iterator[Metric]:
    known = [] if figures is None else [figures]
    yield _gauge(
        "spectrain_jobs",
        "Jobs, by state; those that are queued are the depth of the queue.",
        ("state",),
        [((state.value,), each.jobs.get(state.value, 0)) for each in known for state in JobState],
    )
    yield _gauge(
        "spectrain_queue_oldest_wait_seconds",
        "How long the job has waited that has waited longest; 0 where none waits.",
        (),
        [((), max(0.0, time.time() - each.oldest_at) if each.oldest_at else 0.0) for each in known],
    )
    yield _gauge(
        "spectrain_queue_paused",
        "1 while the queue gives no job to any worker.",
        (),
        [((), float(each.paused)) for each in known],
    )
    yield _gauge(
        "spectrain_outbox_events",
        "Events of the api that are not on the event bus yet.",
        (),
        [((), each.outbox) for each in known],
    )
    yield _gauge(
        "spectrain_job_steps_per_second",
        "Step rate of each running training.",
        ("job", "worker", "device"),
        [
            ((str(job.id), job.worker, job.device), job.steps_per_s)
            for each in known
            for job in each.active
            if job.steps_per_s is not None
        ],
    )


def _of_workers(heartbeats: Iterable[WorkerHeartbeat]) -> Iterator[Metric]:
    online = list(heartbeats)
    states = Counter(heartbeat.state for heartbeat in online)
    yield _gauge(
        "spectrain_workers",
        "Workers that are online, by state.",
        ("state",),
        [((state,), states[state]) for state in ("idle", "busy", "stopping")],
    )
    yield _gauge(
        "spectrain_worker_heartbeat_age_seconds",
        "Time since a worker spoke, by its own clock.",
        _WORKER,
        [(_who(each), max(0.0, time.time() - each.at)) for each in online],
    )
    renewals = CounterMetricFamily(
        "spectrain_lease_renewals", "Renewals of leases by a worker since it was started.", labels=_WORKER
    )
    for each in online:
        renewals.add_metric(_who(each), each.lease_renewals)
    yield renewals
    for name, text, value in _DEVICE_GAUGES:
        yield _gauge(
            f"spectrain_device_{name}",
            text,
            _WORKER,
            [(_who(each), told) for each in online if (told := value(each)) is not None],
        )


_DEVICE_GAUGES: Final[Sequence[tuple[str, str, Callable[[WorkerHeartbeat], float | None]]]] = (
    ("memory_bytes", "Memory of a worker's device.", lambda each: each.device.memory_total_bytes),
    ("memory_used_bytes", "Memory in use on a worker's device.", lambda each: each.device.memory_used_bytes),
    (
        "memory_others_bytes",
        "Memory on a worker's device that programs other than its trainer use.",
        lambda each: each.device.memory_others_bytes,
    ),
    ("utilisation_ratio", "How busy a worker's device is, 0 to 1.", lambda each: each.device.utilisation),
    ("temperature_celsius", "Temperature of a worker's device.", lambda each: each.device.temperature_c),
)


def _who(heartbeat: WorkerHeartbeat) -> tuple[str, str]:
    return heartbeat.name, heartbeat.device.name


def _free(folder: Path) -> Sequence[tuple[tuple[str, ...], float]]:
    try:
        return [((), shutil.disk_usage(folder).free)]
    except OSError:
        return []  # /readyz says what is wrong with it


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        gauge.add_metric(label_values, value)
    return gauge
