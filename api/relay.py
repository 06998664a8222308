"""The relay: live events from Redis pub/sub to the browsers, and what changed in the record to the queue's watchers.

Rooms: `job:<id>` gets the events of a job, and how far they go where some may have been missed; `queue` gets jobs,
workers and datasets as they are now, each job at most four times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol, cast

import structlog
from redis.exceptions import RedisError

from api.background import Rounds
from api.record.jobs import JobRecord
from api.rooms import QUEUE_ROOM, room_of
from shared.event_bus import EVENT_CHANNEL, WORKER_CHANNEL, parse_line
from shared.events import WorkerHeartbeat
from shared.redis_client import connect_blocking

_PER_JOB_S: Final = 0.25
_DELAY_S: Final = 0.05
"""A change often comes with others; the device that waits for its ticket goes before the page."""
_PER_ROUND: Final = 48
"""Jobs that are sent in that time at most, so that a batch of hundreds leaves no browser behind."""

_CONFIRMATIONS: Final = frozenset({"subscribe", "psubscribe"})
_STEADY: Final = frozenset({"steps", "log", "progress"})
"""Types of events that come in numbers and move no job."""

log = structlog.get_logger(__name__)


class Emit(Protocol):
    """How something reaches the browsers in a room."""

    def __call__(self, event: str, data: Mapping[str, Any], room: str) -> None: ...


class EventCame(Protocol):
    """Who wants to know of an event in a job's stream."""

    def __call__(self, job_id: int, *, is_urgent: bool) -> None: ...


class Relay:
    """Two threads: one reads pub/sub, one sends what changed in the record."""

    name = "relay"

    def __init__(
        self,
        *,
        redis_url: str,
        jobs: JobRecord,
        newest: Callable[[Sequence[int]], Mapping[int, int]],
        event_came: EventCame,
        heard: Callable[[WorkerHeartbeat], None],
    ) -> None:
        self._redis_url = redis_url
        self._jobs = jobs
        self._newest = newest
        self._event_came = event_came
        self._heard = heard
        self.emit: Emit = _to_nobody
        """Set by the application once it has its sockets."""
        self.hears: Callable[[str], bool] = lambda _: True
        """Whether anybody is in a room: for nobody, nothing is read from the record."""
        self.watched: Callable[[], Sequence[int]] = list
        """Jobs whose events somebody watches."""
        self._changed: dict[int, None] = {}
        """Jobs whose rows changed, those that have waited longest first."""
        self._changed_lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._fault = ""
        self._listening = Rounds(threading.Thread(target=self._listen, name="relay", daemon=True))
        self._sending = Rounds(threading.Thread(target=self._send_changes, name="relay-jobs", daemon=True))
        self.rounds = (self._listening, self._sending)

    @property
    def trouble(self) -> str:
        """Why nothing can be passed on; empty when it is well."""
        return self._listening.trouble or self._sending.trouble or self._fault

    def start(self) -> None:
        """Start the threads."""
        for rounds in self.rounds:
            rounds.start()

    def stop(self) -> None:
        """Stop them."""
        self._closed.set()
        self._wake.set()
        for rounds in self.rounds:
            rounds.join()

    def job_changed(self, job_id: int) -> None:
        """The row of a job changed."""
        with self._changed_lock:
            self._changed[job_id] = None
        self._wake.set()

    def _listen(self) -> None:
        while not self._closed.is_set():
            self._listening.began()
            try:
                with connect_blocking(self._redis_url).pubsub() as pubsub:
                    pubsub.psubscribe(f"{EVENT_CHANNEL}*")
                    pubsub.subscribe(WORKER_CHANNEL)
                    to_be_confirmed = 2
                    self._fault = ""
                    while not self._closed.is_set():
                        self._listening.began()
                        message = cast(dict[str, Any] | None, pubsub.get_message(timeout=0.5))
                        if message is None:
                            continue
                        if message["type"] in _CONFIRMATIONS:
                            to_be_confirmed -= 1
                            if not to_be_confirmed:
                                self._tell_newest()
                        else:
                            self._try(self._pass_on, str(message["channel"]), str(message["data"]))
            except Exception as error:
                # Redis is away, or somebody published what is no text. The recorder's sweep fills what is missed
                # meanwhile, and the browsers fetch it once they are told how far it goes.
                log.warning("relay.waiting", error=str(error))
                self._fault = f"{type(error).__name__}: {error}"
                self._closed.wait(0.5)

    def _tell_newest(self) -> None:
        """From now on nothing is missed; who watches a job may have missed something before."""
        watched = self.watched()
        if watched:
            for job_id, number in self._newest(watched).items():
                self._try(self.emit, "newest", {"job_id": job_id, "number": number}, room_of(job_id))

    def _try(self, deed: Callable[..., None], *arguments: object) -> None:
        """What cannot be sent on costs itself alone: a malformed message, a record that does not answer for once."""
        try:
            deed(*arguments)
        except RedisError:
            raise
        except Exception:
            log.exception("relay.lost", deed=deed.__name__)

    def _pass_on(self, channel: str, data: str) -> None:
        if channel == WORKER_CHANNEL:
            self._heard(WorkerHeartbeat.model_validate_json(data))
            return
        job_id = int(channel.removeprefix(EVENT_CHANNEL))
        for line in data.split("\n"):
            self._try(self._pass_event_on, job_id, line)

    def _pass_event_on(self, job_id: int, line: str) -> None:
        event = parse_line(line)
        if event["job_id"] != job_id:
            log.warning("event.misplaced", job=job_id)
            return
        try:
            self.emit("event", event, room_of(job_id))
        finally:  # it has to be recorded, whatever becomes of the browsers
            self._event_came(job_id, is_urgent=event["body"]["type"] not in _STEADY)

    def _send_changes(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._closed.wait(_DELAY_S)
            self._wake.clear()
            changed = self._take()
            started = time.monotonic()
            with self._sending.round():
                self._try(self._send_jobs, changed)
            self._closed.wait(max(0.0, _PER_JOB_S - (time.monotonic() - started)))

    def _take(self) -> list[int]:
        """The jobs of this round; those that have to wait for the next go before all that change meanwhile."""
        with self._changed_lock:
            taken = list(islice(self._changed, _PER_ROUND))
            for job_id in taken:
                del self._changed[job_id]
            if self._changed:
                self._wake.set()
        return taken

    def _send_jobs(self, job_ids: Sequence[int]) -> None:
        if not job_ids or not self.hears(QUEUE_ROOM):
            return
        for view in self._jobs.views(job_ids):
            self.emit("job", view.model_dump(mode="json"), QUEUE_ROOM)


def _to_nobody(event: str, data: Mapping[str, Any], room: str) -> None:
    """What `emit` is until there are sockets."""
