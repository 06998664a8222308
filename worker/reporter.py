"""Publishing what an attempt reports, on a thread of its own: a slow or absent Redis never slows a step.

Events go out in the order in which they came. What Redis does not take, because it is away, out of memory or holds as
many events of the job as it may, waits in a short queue in memory and then in the spool on the disk. Whoever finds a
spool, this process or a later one, sends it before anything newer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self

import structlog
from redis.exceptions import RedisError
from typing_extensions import override

from shared.errors import LeaseLostError
from shared.event_bus import Entry, EventBus
from shared.events import CheckpointSaved, Event, EventBody, StepMetrics
from shared.lease import UnknownAttemptError
from shared.redis_client import connect
from worker.attempt import Reporter
from worker.spool import Spool

_FLUSH_S: Final = 0.1
_BATCH: Final = 256
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_MEMORY_EVENTS: Final = 256
"""More than these wait on the disk."""
_STREAM_BYTES: Final = 64 << 20
"""What a job's stream may take of Redis' memory, where its events are long."""

log = structlog.get_logger(__name__)


class Sender:
    """Sends what waits for Redis, the spool first. To be used by one thread."""

    def __init__(self, bus: EventBus, spool: Spool, *, stream_events: int) -> None:
        self._bus = bus
        self._spool = spool
        self._stream_events = stream_events
        self._memory: deque[Entry] = deque()
        self._last = 0
        self.trouble = ""
        """Why the newest try did not send everything; empty where it did."""
        self.unknown = False
        """Whether that was because Redis does not know the attempt."""
        self.taken = 0
        """Count of the trainer's newest event that Redis took."""

    def __bool__(self) -> bool:
        return bool(self._memory or self._spool)

    def add(self, entry: Entry) -> None:
        """Send `entry` after everything before it."""
        self._memory.append(entry)

    def send(self) -> None:
        """Try once to send everything; `trouble` says what kept it from that. Raises LeaseLostError."""
        self.trouble, self.unknown = "", False
        try:
            if self._spool:
                self._to_disk()
            while not self.trouble and self:
                self._send_head()
        except (RedisError, OSError) as error:
            self.trouble = str(error) or type(error).__name__
            self.unknown = isinstance(error, UnknownAttemptError)
        if self.trouble and len(self._memory) > _MEMORY_EVENTS:
            self._to_disk()

    def keep(self) -> None:
        """Put what is left on the disk, for good: another process will send it."""
        try:
            self._spool.append(self._memory)
            self._memory.clear()
            self._spool.sync()
        except OSError as error:
            log.warning("spool.lost", job=self._spool.job_id, events=len(self._memory), error=str(error))

    def _send_head(self) -> None:
        from_disk = bool(self._spool)
        head = self._spool.head() if from_disk else list(self._memory)[:_BATCH]
        if not head:
            return  # nothing of the spool could be read, and it went
        mean_bytes = sum(len(entry.text) for entry in head) / len(head)
        room = max(1, min(self._stream_events, int(_STREAM_BYTES / mean_bytes)))
        # Above its own last number, whatever a Redis that lost its newest second believes.
        sent = self._bus.send(
            self._spool.job_id, self._spool.attempt, head, floor=self._last, secret=self._spool.secret, room=room
        )
        self._last = sent.last
        if sent.taken and head[0].writer.startswith("trainer:"):
            self.taken = max(self.taken, head[sent.taken - 1].count)
        if from_disk:
            self._spool.drop(sent.taken)
        else:
            for _ in range(sent.taken):
                self._memory.popleft()
        if sent.taken < len(head):
            self.trouble = f"the job's stream holds all of the {room} events that it may"

    def _to_disk(self) -> None:
        try:
            self._spool.append(self._memory)
        except OSError as error:
            # It stays in memory, which lasts longer than nothing, and is tried again with the next event.
            if not self.trouble:
                log.warning("spool.failed", job=self._spool.job_id, error=str(error))
            return
        self._memory.clear()


class StreamReporter(Reporter):
    """To be entered before use; leaving it tries once more, and leaves to the spool what Redis does not take.

    `on_fenced` is called, from the reporter's thread, when a newer attempt owns the job.
    """

    def __init__(
        self,
        redis_url: str,
        spool: Spool,
        *,
        stream_events: int,
        on_fenced: Callable[[], object],
        on_steps: Callable[[], None],
    ) -> None:
        self._redis = connect(redis_url)
        self._sender = Sender(EventBus(self._redis), spool, stream_events=stream_events)
        self._job_id = spool.job_id
        self._attempt = spool.attempt
        self._writer = f"trainer:{spool.attempt}"
        self._on_fenced = on_fenced
        self._on_steps = on_steps
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._count = 0
        self._checkpoints: deque[tuple[int, str]] = deque()
        self._recorded: str | None = None
        self._thread = threading.Thread(target=self._send_all, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        self._redis.close()

    @override
    def publish(self, body: EventBody) -> None:
        if isinstance(body, StepMetrics):
            self._on_steps()
        self._queue.put(Event(job_id=self._job_id, attempt=self._attempt, at=time.time(), body=body))

    @property
    @override
    def recorded_checkpoint(self) -> str | None:
        return self._recorded

    def _send_all(self) -> None:
        closing = False
        tries = 0
        while not closing:
            closing = self._collect(None if not self._sender else _RETRY_S[min(tries, len(_RETRY_S) - 1)])
            try:
                self._sender.send()
            except LeaseLostError:
                self._on_fenced()
                return
            self._note_recorded()
            if self._sender.trouble and not tries:
                log.warning("events.waiting", job=self._job_id, error=self._sender.trouble)
            tries = tries + 1 if self._sender.trouble else 0
            if not closing and not tries:
                time.sleep(_FLUSH_S)  # what comes meanwhile travels together
        if self._sender:
            self._sender.keep()

    def _collect(self, timeout_s: float | None) -> bool:
        """Take what came, waiting for it while there is nothing else to do; True at the end."""
        try:
            event = self._queue.get(timeout=timeout_s)
            while event is not None:
                self._count += 1
                self._sender.add(Entry(writer=self._writer, count=self._count, text=event.to_json()))
                if isinstance(event.body, CheckpointSaved):
                    self._checkpoints.append((self._count, event.body.name))
                event = self._queue.get_nowait()
        except Empty:
            return False
        return True

    def _note_recorded(self) -> None:
        while self._checkpoints and self._checkpoints[0][0] <= self._sender.taken:
            self._recorded = self._checkpoints.popleft()[1]
