"""Keeps the lease of one attempt, and listens to what people want of it, on a thread of its own.

A Redis that does not answer keeps this thread waiting, never the supervisor's, whose limits must hold all the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import structlog
from redis import Redis
from redis.exceptions import RedisError

from shared.control import Controls, Wish
from shared.jobs import AttemptSpec
from shared.lease import Leases

_LOOK_S: Final = 0.25
_RENEWALS: Final = 6
"""How often a lease is renewed in its time."""

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """To be entered before use; leaving it ends its thread. What it found is in its attributes."""

    def __init__(
        self,
        redis: Redis,
        attempt: AttemptSpec,
        *,
        worker: str,
        lease_s: float,
        on_renewed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_renewed` is called after each renewal, from its thread."""
        self._leases = Leases(redis)
        self._controls = Controls(redis)
        self._attempt = attempt
        self._worker = worker
        self._lease_s = lease_s
        self._on_renewed = on_renewed
        self._renewed_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)
        self.wish: Wish = "none"
        """What is wanted of the attempt, as far as Redis told."""
        self.lost = False
        """A newer attempt owns the job."""
        self.away = False
        """Redis does not answer, or has to be told of the attempt again."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self.lost and not self._closed.wait(_LOOK_S):
            try:
                self._look()
                self.away = False
            except RedisError as error:
                # The attempt goes on. If its lease lapsed meanwhile, the next renewal or event finds out.
                if not self.away:
                    log.warning("lease.unreachable", job=self._attempt.job_id, error=str(error))
                self.away = True

    def _look(self) -> None:
        attempt = self._attempt
        # After an absence at once: whoever came back first decides whether it may go on.
        if self.away or time.monotonic() - self._renewed_at >= self._lease_s / _RENEWALS:
            self.lost = not self._leases.renew(
                attempt.job_id, attempt.attempt, self._worker, attempt.secret, self._lease_s
            )
            self._renewed_at = time.monotonic()
            if not self.lost:
                self._on_renewed()
        self.wish = self._controls.read(attempt.job_id, attempt.attempt).wish
