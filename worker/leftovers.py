"""Tells what workers that are gone left in the spool, unless newer attempts did it again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

import structlog

from shared.errors import LeaseLostError
from shared.event_bus import EventBus
from shared.redis_client import connect
from shared.settings import Settings
from worker.locks import is_held
from worker.reporter import Sender
from worker.spool import Spool, spool_folder

_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


def find_leftovers(settings: Settings, worker: str) -> list[Spool]:
    """Spools of `worker` itself, which begins only now, and of workers that do not run."""
    spools = (
        Spool.open(path, limit_bytes=settings.spool_bytes)
        for path in sorted(spool_folder(settings.data).glob("*.jsonl"))
    )
    return [
        spool
        for spool in spools
        if spool is not None and (spool.worker == worker or not is_held(settings.data, spool.worker))
    ]


def send_leftovers(settings: Settings, worker: str) -> None:
    """Send them on a thread of their own, for as long as it takes. To be called before the first attempt."""
    spools = find_leftovers(settings, worker)
    if spools:
        threading.Thread(target=_send, args=(settings, spools), name="leftovers", daemon=True).start()


def _send(settings: Settings, spools: list[Spool]) -> None:
    with connect(settings.redis_url) as redis:
        bus = EventBus(redis)
        while spools:
            spools = [spool for spool in spools if not _send_one(bus, spool, settings.stream_events)]
            if spools:
                time.sleep(_RETRY_S)


def _send_one(bus: EventBus, spool: Spool, stream_events: int) -> bool:
    """Whether nothing of it is left to send."""
    sender = Sender(bus, spool, stream_events=stream_events)
    try:
        sender.send()
    except LeaseLostError:
        log.info("spool.discarded", job=spool.job_id, attempt=spool.attempt)
        spool.remove()
        return True
    if not sender:
        log.info("spool.sent", job=spool.job_id, attempt=spool.attempt)
        _clear(spool.path)
    return not sender


def _clear(path: Path) -> None:
    path.unlink(missing_ok=True)  # a spool of which nothing was whole
