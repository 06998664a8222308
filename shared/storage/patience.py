"""How long something that is away is waited for: again and again, ever more slowly, from the last progress on."""

from __future__ import annotations

import random
import time
from typing import Final

PATIENCE_S: Final = 300.0
"""How long a store that is away is waited for."""
SHORT_PATIENCE_S: Final = 20.0
"""The same where a training goes on without; less than a trainer's time to save."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


class Patience:
    """Waits between tries, for `limit_s` in a row at most."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.renew()

    @classmethod
    def for_key(cls, key: str) -> Patience:
        """What a worker has for a store that does not answer what it asks of `key`."""
        return cls(SHORT_PATIENCE_S if not key or key.startswith("jobs/") else PATIENCE_S)

    def renew(self) -> None:
        """There was progress: the time starts again."""
        self._pause_s = _FIRST_PAUSE_S
        self._ends_at = time.monotonic() + self._limit_s

    def wait(self) -> bool:
        """Wait before the next try; False, at once, when there shall be none."""
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            return False
        # Workers that lost the same api do not come back in the same moment.
        time.sleep(min(left_s, self._pause_s * random.uniform(0.5, 1.0)))  # noqa: S311
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
        return True
