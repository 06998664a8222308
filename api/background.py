"""Work that the api does beside answering: the same small loop for outbox, recorder and scheduler.

Whatever goes wrong in a round is logged, kept as `trouble` for the readiness check, and tried again a second later: a
full disk or an absent Redis must not end a thread that everything depends on. A round that does not end is trouble too.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bind_contextvars

_RETRY_S: Final = 1.0
_STUCK_S: Final = 60.0
"""A thread that shows no progress in a round for so long is told of: a Redis that is away costs a sixth of that."""

log = structlog.get_logger(__name__)


class Rounds:
    """What a thread that works in rounds is at, seen from outside."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self._started = False
        self._since: float | None = None
        """When the round at hand last showed progress; None between rounds."""

    def start(self) -> None:
        """Start the thread."""
        self._started = True
        self._thread.start()

    @contextmanager
    def round(self) -> Generator[None]:
        """What the thread does in one round."""
        _at_work.rounds = self
        self.began()
        try:
            yield
        finally:
            self._since = None

    def began(self) -> None:
        """It is at something now that should not take long."""
        self._since = time.monotonic()

    def join(self) -> None:
        """Wait for the end of the thread, which was told to end."""
        self._started = False
        self._thread.join()

    @property
    def gone(self) -> bool:
        """Whether the thread ended, which nothing but a new start of the process mends."""
        return self._started and not self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """What is wrong with the thread itself; empty when it works, or waits for work."""
        if self.gone:
            return f"The thread {self._thread.name} ended: start the api anew."
        since = self._since
        if since is None or time.monotonic() - since <= _STUCK_S:
            return ""
        return f"It has been at the same thing for {time.monotonic() - since:.0f} s."


def progressed() -> None:
    """The round of the calling thread, which may be long, got further."""
    rounds = getattr(_at_work, "rounds", None)
    if isinstance(rounds, Rounds):
        rounds.began()


_at_work = threading.local()
"""The rounds of each thread."""


class Background(ABC):
    """A thread that works when it is woken, and every `every_s` seconds anyway."""

    def __init__(self, name: str, *, every_s: float, pause_s: float = 0.0, delay_s: float = 0.0) -> None:
        """`pause_s` is the shortest time between two rounds, `delay_s` that between a wish and its round: what comes
        meanwhile is done together."""
        self.name = name
        self._fault = ""
        self._every_s = every_s
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._rounds = Rounds(self._thread)
        self.rounds = (self._rounds,)

    @property
    def trouble(self) -> str:
        """What went wrong in the newest round, or that it does not end; empty when it is well."""
        return self._rounds.trouble or self._fault

    @abstractmethod
    def work(self) -> None:
        """One round."""

    def start(self) -> None:
        """Start the thread."""
        self._rounds.start()

    def stop(self) -> None:
        """Stop it after the round at hand; what is left is done after the next start."""
        self._closed.set()
        self._wake.set()
        self._rounds.join()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def _run(self) -> None:
        bind_contextvars(part=self.name)
        while not self._closed.is_set():
            self._wake.clear()
            try:
                with self._rounds.round():
                    self.work()
            except Exception as error:
                if not self._fault:
                    log.warning("background.trouble", error=str(error), exc_info=True)
                # What the database says, without the statement that it says it of.
                cause = error.orig if isinstance(error, DBAPIError) else error
                self._fault = f"{type(error).__name__}: {cause}"
                self._closed.wait(_RETRY_S)
            else:
                self._fault = ""
                self._closed.wait(self._pause_s)
                if self._wake.wait(self._every_s) and self._delay_s:
                    self._closed.wait(self._delay_s)
