"""What is on its way into the record: artifacts that are in the store before anything points to them.

A clip is stored before its dataset has it, weights before the job that starts from them; and a new job may want
features that no other one reads any more. Until it is recorded nothing tells that they are needed; so whoever brings or
relies on one announces it here, and whoever removes what nobody needs asks here. What is just being removed is gone
before it can be announced: a store that takes long for it keeps nobody else waiting.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from shared.storage import Storage

EXPECTED_S: Final = 3_600.0
"""How long the record may take to point to what was announced."""
_MANY: Final = 10_000


class Arrivals:
    """Announced keys. One for the whole api, which alone writes the record."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._prune_at = _MANY
        self._bringing = Counter[str]()
        self._going = set[str]()
        self._changed = threading.Condition()

    def expect(self, key: str) -> None:
        """Have a key, or a folder, stay for a while; to be called before looking whether it is there."""
        with self._changed:
            self._wait_until_gone(key)
            now = time.monotonic()
            if len(self._until) >= self._prune_at:
                self._until = {each: until for each, until in self._until.items() if until > now}
                self._prune_at = max(_MANY, 2 * len(self._until))
            self._until[key] = now + EXPECTED_S

    def begin(self, key: str) -> None:
        """Have a key stay until `end`, which is to be called as often; also before looking whether it is there."""
        with self._changed:
            self._wait_until_gone(key)
            self._bringing[key] += 1

    def end(self, key: str) -> None:
        """The record points to the key now, or never will."""
        with self._changed:
            self._bringing[key] -= 1
            if not self._bringing[key]:
                del self._bringing[key]

    def remove(self, storage: Storage, key: str, *, unneeded: Callable[[], bool]) -> bool:
        """Remove what is under `key` unless it is announced or `unneeded` denies; whether it was removed.

        `unneeded` is to ask the record now: what was announced may be recorded since somebody looked.
        """
        with self._changed:
            self._wait_until_gone(key)
            if key in self._bringing or self._until.get(key, float("-inf")) > time.monotonic() or not unneeded():
                return False
            self._going.add(key)
        try:
            storage.delete(key)
        finally:
            with self._changed:
                self._going.discard(key)
                self._changed.notify_all()
        return True

    def _wait_until_gone(self, key: str) -> None:
        self._changed.wait_for(lambda: key not in self._going)
