"""Tells what workers that are gone left in the spool, unless newer attempts did it again."""

from __future__ import annotations

import threading
import time
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
_FOREIGN_S: Final = 600.0
"""An attempt that Redis does not know for so long is most likely of another record, or of none."""
_FOREIGN_RETRY_S: Final = 60.0
_FIRST_TRY_S: Final = 5.0

log = structlog.get_logger(__name__)


def find_leftovers(settings: Settings, worker: str) -> list[Spool]:
    """Spools of `worker` itself, which begins only now, and behind them those of workers that do not run."""
    spools = (
        Spool.open(path, limit_bytes=settings.spool_bytes)
        for path in sorted(spool_folder(settings.data).glob("*.jsonl"))
    )
    found = [
        spool
        for spool in spools
        if spool is not None and (spool.worker == worker or not is_held(settings.data, spool.worker))
    ]
    return sorted(found, key=lambda spool: spool.worker != worker)


def send_leftovers(settings: Settings, worker: str) -> None:
    """Send them on a thread of their own, for as long as it takes; returns once each was tried, or some seconds later.

    To be called before anybody hears of this process: then the attempt that its forerunner held is taken back, and
    whatever is told of it afterwards is refused.
    """
    spools = find_leftovers(settings, worker)
    if spools:
        tried = threading.Event()
        threading.Thread(target=_send, args=(settings, spools, tried), name="leftovers", daemon=True).start()
        tried.wait(_FIRST_TRY_S)


def _send(settings: Settings, spools: list[Spool], tried: threading.Event) -> None:
    with connect(settings.redis_url) as redis:
        bus = EventBus(redis)
        left = [(spool, Sender(bus, spool, stream_events=settings.stream_events)) for spool in spools]
        started = time.monotonic()
        try:
            left = _still_left(left)
        finally:
            tried.set()
        while left:
            foreign = time.monotonic() - started > _FOREIGN_S and all(sender.unknown for _, sender in left)
            time.sleep(_FOREIGN_RETRY_S if foreign else _RETRY_S)
            left = _still_left(left)


def _still_left(left: list[tuple[Spool, Sender]]) -> list[tuple[Spool, Sender]]:
    return [(spool, sender) for spool, sender in left if not _send_one(spool, sender)]


def _send_one(spool: Spool, sender: Sender) -> bool:
    """Whether nothing of it is left to send."""
    try:
        sender.send()
    except LeaseLostError:
        log.info("spool.discarded", job=spool.job_id, attempt=spool.attempt)
        spool.remove()
        return True
    if not sender:
        log.info("spool.sent", job=spool.job_id, attempt=spool.attempt)
        spool.remove()  # one of which nothing was whole
        return True
    return not spool.path.exists()  # another worker that began just now found it, too, and was first
