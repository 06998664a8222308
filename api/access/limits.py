"""How often somebody may ask for something: a token bucket for each who asks, in the memory of the one api process."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from shared.errors import TooManyError

_REMEMBERED: Final = 10_000
"""Who asked longest ago is forgotten first: whoever makes up addresses must not fill the memory."""


class Limit:
    """At most `per_minute` at once, and as many in a minute from then on, for each who asks."""

    def __init__(self, what: str, per_minute: int, *, now: Callable[[], float] = time.monotonic) -> None:
        """`what` is done too often, in the sentence that says so."""
        self._what = what
        self._per_minute = per_minute
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """For each who asked: how much was left, and when."""
        self._lock = threading.Lock()

    def check(self, who: str) -> None:
        """Raise TooManyError where nothing is left for `who`."""
        with self._lock:
            self._raise_if_empty(self._left_for(who))

    def take(self, who: str) -> None:
        """One more of `who`; raises TooManyError where nothing is left."""
        with self._lock:
            left = self._left_for(who)
            self._raise_if_empty(left)
            self._left[who] = (left - 1.0, self._now())
            self._left.move_to_end(who)
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)

    def _left_for(self, who: str) -> float:
        left, at = self._left.get(who, (float(self._per_minute), self._now()))
        return min(float(self._per_minute), left + (self._now() - at) * self._per_minute / 60.0)

    def _raise_if_empty(self, left: float) -> None:
        if left < 1.0:
            wait_s = math.ceil((1.0 - left) * 60.0 / self._per_minute)
            raise TooManyError(f"{self._what}: wait {wait_s} s and try again.", retry_after_s=wait_s)
