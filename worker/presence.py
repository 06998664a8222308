"""The worker's heartbeat: that it is there, what it is, what its device is doing."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from typing import Final

import structlog
from redis.exceptions import RedisError

from shared.devices import Device, device_status
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat
from shared.redis_client import connect
from shared.settings import Settings
from shared.version import VERSION
from worker.neighbours import Neighbours, cores
from worker.supervisor import Supervisor

_EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)


class Presence:
    """Sends a heartbeat every two seconds, and at once when the job changes or the worker is told to stop."""

    def __init__(self, settings: Settings, *, worker: str, device: Device, supervisor: Supervisor) -> None:
        self._bus = EventBus(connect(settings.redis_url))
        self._labels = [label.strip() for label in settings.labels.split(",") if label.strip()]
        self._neighbours = Neighbours(settings.data, device)
        self._worker = worker
        self._device = device
        self._supervisor = supervisor
        self._started_at = time.time()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self.reachable = False
        """Whether the newest heartbeat reached Redis."""

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending and say good-bye."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._bus.leave(self._heartbeat())
        except RedisError:
            return  # the last heartbeat expires by itself

    def _run(self) -> None:
        told = False
        while not self._closed.is_set() and self._supervisor.failure is None:
            try:
                self._bus.beat(self._heartbeat())
                if told:
                    log.info("presence.reachable")
                self.reachable, told = True, False
            except RedisError as error:
                if not told:
                    log.warning("presence.unreachable", error=str(error))
                self.reachable, told = False, True
            told_of = (self._supervisor.job_id, self._supervisor.stopping)
            until = time.monotonic() + _EVERY_S
            while time.monotonic() < until and not self._closed.wait(0.1):
                if (self._supervisor.job_id, self._supervisor.stopping) != told_of:
                    break

    def _heartbeat(self) -> WorkerHeartbeat:
        job_id = self._supervisor.job_id
        self._neighbours.look()
        status = device_status(self._device)
        threads = self._supervisor.threads
        return WorkerHeartbeat(
            name=self._worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=status.model_copy(update={"memory_others_bytes": self._neighbours.memory_bytes}),
            state="stopping" if self._supervisor.stopping else "idle" if job_id is None else "busy",
            job_id=job_id,
            versions={"spectrain": VERSION, "python": platform.python_version()},
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            labels=self._labels,
            threads=cores() if threads is None and self._device.kind == "cpu" else threads,
            others_load=self._neighbours.load,
            lease_renewals=self._supervisor.lease_renewals,
            started_at=self._started_at,
            at=time.time(),
        )
