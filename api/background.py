"""Work that the api does beside answering: the same small loop for outbox, recorder and scheduler.

Whatever goes wrong in a round is logged, kept as `trouble` for the readiness check, and tried again a second later: a
full disk or an absent Redis must not end a thread that everything depends on.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

_RETRY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Background(ABC):
    """A thread that works when it is woken, and every `every_s` seconds anyway."""

    def __init__(self, name: str, *, every_s: float, pause_s: float = 0.0, delay_s: float = 0.0) -> None:
        """`pause_s` is the shortest time between two rounds, `delay_s` that between a wish and its round: what comes
        meanwhile is done together."""
        self.name = name
        self.trouble = ""
        """What went wrong in the newest round; empty when it is well."""
        self._every_s = every_s
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """One round."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it after the round at hand; what is left is done after the next start."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self.work()
            except Exception as error:
                if not self.trouble:
                    log.warning("background.trouble", part=self.name, error=str(error), exc_info=True)
                # What the database says, without the statement that it says it of.
                cause = error.orig if isinstance(error, DBAPIError) else error
                self.trouble = f"{type(error).__name__}: {cause}"
                self._closed.wait(_RETRY_S)
            else:
                self.trouble = ""
                self._closed.wait(self._pause_s)
                if self._wake.wait(self._every_s) and self._delay_s:
                    self._closed.wait(self._delay_s)
