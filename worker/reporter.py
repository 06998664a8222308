"""Publishing what a trainer reports, on a thread of its own: a slow or absent Redis never slows a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

import structlog
from redis.exceptions import RedisError
from typing_extensions import override

from shared.errors import LeaseLostError
from shared.event_bus import EventBus
from shared.events import Event, EventBody, StepMetrics
from shared.redis_client import connect
from worker.attempt import Reporter

_FLUSH_S: Final = 0.1
_BATCH: Final = 256
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

log = structlog.get_logger(__name__)


class StreamReporter(Reporter):
    """Sends events to the event bus in batches, in order, again and again until they are there.

    To be entered before use; leaving it waits until everything has been sent. `on_fenced` is called, from the
    reporter's thread, when a newer attempt owns the job.
    """

    def __init__(
        self,
        redis_url: str,
        job_id: int,
        attempt: int,
        *,
        secret: str,
        on_fenced: Callable[[], object],
        on_steps: Callable[[], None],
    ) -> None:
        self._bus = EventBus(connect(redis_url))
        self._job_id = job_id
        self._attempt = attempt
        self._secret = secret
        self._writer = f"trainer:{attempt}"
        self._on_fenced = on_fenced
        self._on_steps = on_steps
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._sent = 0
        self._last = 0
        self._thread = threading.Thread(target=self._send_all, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    @override
    def publish(self, body: EventBody) -> None:
        if isinstance(body, StepMetrics):
            self._on_steps()
        self._queue.put(Event(job_id=self._job_id, attempt=self._attempt, at=time.time(), body=body))

    def _send_all(self) -> None:
        closing = False
        while not closing:
            first = self._queue.get()
            batch = [] if first is None else [first]
            closing = first is None
            while not closing and len(batch) < _BATCH:
                try:
                    event = self._queue.get_nowait()
                except Empty:
                    break
                closing = event is None
                if event is not None:
                    batch.append(event)
            if batch:
                self._send(batch)
            if not closing:
                time.sleep(_FLUSH_S)  # what comes meanwhile travels together

    def _send(self, batch: list[Event]) -> None:
        tries = 0
        while True:
            try:
                # Above its own last number, whatever a Redis that lost its newest second believes.
                self._last = self._bus.publish(
                    batch, writer=self._writer, first_count=self._sent + 1, floor=self._last, secret=self._secret
                )
            except LeaseLostError:
                self._on_fenced()
                return
            except RedisError as error:
                if not tries:
                    log.warning("events.waiting", job=self._job_id, error=str(error))
                time.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
                tries += 1
            else:
                self._sent += len(batch)
                return
