"""The canary: a ticket that the worker sends itself, to notice when its consumer takes none any more.

After some outages a consumer is connected and deaf. A worker that heard nothing for too long, although Redis answers,
saves what it does, hands it back and starts itself anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from shared.tickets import send_canary
from worker.watch import WakingClock

_EVERY_S: Final = 20.0
_TRIES: Final = 4
"""So many canaries must be lost before the worker counts as deaf."""
_TICK_S: Final = 1.0

log = structlog.get_logger(__name__)


class Canary:
    """Sends canaries on a thread of its own; `on_deaf` is called from there, once, when none came back for long.

    `reachable` says whether Redis answers: while it does not, nobody can hear anything.
    """

    def __init__(
        self, app: Celery, worker: str, *, silent_s: float, reachable: Callable[[], bool], on_deaf: Callable[[], None]
    ) -> None:
        self._app = app
        self._worker = worker
        self._silent_s = silent_s
        self._reachable = reachable
        self._on_deaf = on_deaf
        self._clock = WakingClock()
        self._heard_at = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        self._closed.set()

    def heard(self) -> None:
        """A message came through the consumer."""
        self._heard_at = self._clock.now

    def _run(self) -> None:
        send_at = 0.0
        while not self._closed.wait(_TICK_S):
            before = self._clock.now
            now = self._clock.tick()
            if not self._reachable():
                self._heard_at += now - before  # this time does not count
            elif now - self._heard_at > self._silent_s:
                log.error("worker.deaf", silent_s=self._silent_s)
                self._on_deaf()
                return
            elif now >= send_at:
                send_at = now + min(_EVERY_S, self._silent_s / _TRIES)
                self._send()

    def _send(self) -> None:
        try:
            send_canary(self._app, self._worker)
        except OperationalError as error:
            log.debug("canary.not_sent", error=str(error))  # the next one tells
