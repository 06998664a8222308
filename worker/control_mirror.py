"""The trainer's view of its control flags: a mirror in memory, kept by a thread, so that a step never waits.

The same thread tells the supervisor that the trainer makes progress, at most twice a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from redis.exceptions import RedisError
from typing_extensions import override

from shared.control import ControlFlags, Controls
from shared.redis_client import connect
from worker.attempt import Control

_POLL_S: Final = 0.1
_BEAT_S: Final = 0.5


@dataclass
class SupervisorWish:
    """What the supervisor asked for by itself: its worker stops, or a limit of the attempt is reached."""

    wish: Literal["none", "pause", "shutdown"] = "none"


class ControlMirror(Control):
    """Control flags of one attempt. To be entered before use; leaving it ends its thread."""

    def __init__(
        self,
        redis_url: str,
        job_id: int,
        attempt: int,
        asked: SupervisorWish,
        send_beat: Callable[[str], None],
    ) -> None:
        self._redis = connect(redis_url)
        self._controls = Controls(self._redis)
        self._job_id = job_id
        self._attempt = attempt
        self._asked = asked
        self._send_beat = send_beat
        self._flags = ControlFlags()
        self._saves_taken = 0
        self._previews_taken = 0
        self._beats = 0
        self._phase = "setup"
        self._closed = False
        self._stirred = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="control-mirror", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._stirred.set()
        self._thread.join()
        self._redis.close()

    @override
    def wish(self) -> Literal["none", "cancel", "pause", "shutdown"]:
        # What a person wants outranks the machine's wishes: a cancelled job must not come back elsewhere.
        wish = self._flags.wish
        return "shutdown" if wish == "hand_back" else self._asked.wish if wish == "none" else wish

    @override
    def take_save(self) -> bool:
        asked, self._saves_taken = self._flags.saves > self._saves_taken, self._flags.saves
        return asked

    @override
    def take_preview(self) -> bool:
        asked, self._previews_taken = self._flags.previews > self._previews_taken, self._flags.previews
        return asked

    @override
    def beat(self) -> None:
        self._beats += 1

    def steps_began(self) -> None:
        """Set-up is over: from now on the shorter stall limit holds, which the supervisor learns at once."""
        if self._phase != "steps":
            self._phase = "steps"
            self._stirred.set()

    def _follow(self) -> None:
        beats_sent, phase_sent, sent_at = -1, "", 0.0
        while True:
            self._stirred.wait(_POLL_S)
            self._stirred.clear()
            if self._closed:
                return
            phase, due = self._phase, time.monotonic() - sent_at >= _BEAT_S
            if phase != phase_sent or (due and self._beats != beats_sent):
                beats_sent, phase_sent, sent_at = self._beats, phase, time.monotonic()
                self._send_beat(phase)
            with suppress(RedisError):  # the training goes on; the flags are read when Redis is back
                self._flags = self._controls.read(self._job_id, self._attempt)
