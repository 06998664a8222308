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
from shared.version import VERSION
from worker.supervisor import Supervisor

_EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)


class Presence:
    """Sends a heartbeat every two seconds, and at once when the job changes."""

    def __init__(self, *, redis_url: str, worker: str, device: Device, supervisor: Supervisor) -> None:
        self._bus = EventBus(connect(redis_url))
        self._worker = worker
        self._device = device
        self._supervisor = supervisor
        self._started_at = time.time()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending and say good-bye."""
        self._closed.set()
        self._thread.join()
        try:
            self._bus.leave(self._worker)
        except RedisError:
            return  # the last heartbeat expires by itself

    def _run(self) -> None:
        away = False
        while not self._closed.is_set() and self._supervisor.failure is None:
            try:
                self._bus.beat(self._heartbeat())
                away = False
            except RedisError as error:
                if not away:
                    log.warning("presence.unreachable", error=str(error))
                away = True
            job_id = self._supervisor.job_id
            until = time.monotonic() + _EVERY_S
            while time.monotonic() < until and not self._closed.wait(0.1):
                if self._supervisor.job_id != job_id:
                    break

    def _heartbeat(self) -> WorkerHeartbeat:
        job_id = self._supervisor.job_id
        return WorkerHeartbeat(
            name=self._worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=device_status(self._device),
            state="stopping" if self._supervisor.stopping else "idle" if job_id is None else "busy",
            job_id=job_id,
            versions={"spectrain": VERSION, "python": platform.python_version()},
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            started_at=self._started_at,
            at=time.time(),
        )
