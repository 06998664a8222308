"""The workers that are online, from their heartbeats."""

from __future__ import annotations

import time

from api.views import WorkerView
from shared.event_bus import EventBus
from shared.events import WorkerHeartbeat


class Workers:
    """Reads heartbeats off the event bus."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def list(self) -> list[WorkerView]:
        """Every worker that is online, by name; raises redis.RedisError while Redis is away."""
        return sorted((worker_view(heartbeat) for heartbeat in self._bus.workers()), key=lambda view: view.name)


def worker_view(heartbeat: WorkerHeartbeat) -> WorkerView:
    """A heartbeat as the page shows it."""
    return WorkerView(
        name=heartbeat.name,
        host=heartbeat.host,
        state=heartbeat.state,
        device=heartbeat.device,
        job_id=heartbeat.job_id,
        heartbeat_age_s=max(0.0, time.time() - heartbeat.at),
        started_at=heartbeat.started_at,
        versions=heartbeat.versions,
        system=heartbeat.system,
    )
