"""The bell: hears of an offer over pub/sub, some milliseconds before Celery's consumer brings the ticket.

Nothing depends on it. Whichever comes first claims, the other one finds the worker busy or nothing left to claim; a
bell that nobody heard leaves the ticket, and a ticket that was lost is sent again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from redis.exceptions import NoPermissionError, RedisError

from shared.jobs import Ticket
from shared.lease import offer_channel
from shared.redis_client import connect_blocking

BELL_THREAD: Final = "bell"
"""Name of its thread."""
_READ_S: Final = 1.0
_RETRY_S: Final = 0.5

log = structlog.get_logger(__name__)


class Bell:
    """Listens on a thread of its own and calls `take` with each ticket that `worker` is told of.

    It begins once `known` says that others know of this process: what it claimed before would be taken back from it,
    as from the one that had its name before.
    """

    def __init__(
        self,
        redis_url: str,
        worker: str,
        take: Callable[[Ticket], None],
        *,
        known: Callable[[], bool] = lambda: True,
    ) -> None:
        self._redis_url = redis_url
        self._worker = worker
        self._take = take
        self._known = known
        self._told = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=BELL_THREAD, daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; a ticket that comes now is Celery's to bring."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                if self._known():
                    self._listen()
            except RedisError as error:
                # Celery's ticket comes anyway. Its own outages are told elsewhere; a missing right is told once.
                if isinstance(error, NoPermissionError) and str(error) != self._told:
                    self._told = str(error)
                    log.warning("bell.not_allowed", error=self._told)
            except Exception:
                log.exception("bell.failed")
            self._closed.wait(_RETRY_S)

    def _listen(self) -> None:
        with connect_blocking(self._redis_url) as redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(offer_channel(self._worker))
            while not self._closed.is_set():
                message = cast(dict[str, Any] | None, pubsub.get_message(timeout=_READ_S))
                if message is not None:
                    self._take(Ticket.model_validate_json(str(message["data"])))
