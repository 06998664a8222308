"""Watches one attempt's trainer: passes wishes on, enforces the limits, ends what does not end by itself.

    progress   a trainer that makes none for the stall limit is killed
    wishes     of people (by the lease keeper), of the worker that stops, of a limit that is reached
    grace      a trainer that was told to stop and does not is killed

All limits run on a clock of waking hours: a laptop that slept, or a process that was stopped, comes back to the
same attempt instead of to limits that ran out meanwhile.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Literal

from shared.jobs import AttemptSpec
from shared.settings import Settings
from worker.lease_keeper import LeaseKeeper
from worker.trainer_process import TrainerProcess

TICK_S: Final = 0.25
_LONGEST_TICK_S: Final = 2.0
"""A longer pause between two looks was no waiting: the process, or the machine, stood still."""


class WakingClock:
    """Seconds that this process was awake."""

    def __init__(self) -> None:
        self.now = 0.0
        self._looked = time.monotonic()

    def tick(self) -> float:
        """Look at the clock; to be done often."""
        looked, self._looked = self._looked, time.monotonic()
        self.now += min(self._looked - looked, _LONGEST_TICK_S)
        return self.now


class Watch:
    """One attempt from `begin` until its process is gone; then its attributes say what was done to it."""

    def __init__(
        self,
        attempt: AttemptSpec,
        trainer: TrainerProcess,
        keeper: LeaseKeeper,
        *,
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        self._attempt = attempt
        self._trainer = trainer
        self._keeper = keeper
        self._settings = settings
        self._stopping = stopping
        self._clock = WakingClock()
        self._beats = 0
        self._progressed = 0.0
        self._reached = 0.0
        """When Redis was last there."""
        self._told: float | None = None
        """When it was told to stop."""
        self.wish = "none"
        self.why = ""
        """Why it was told to stop, where a limit was reached."""
        self.killed_because = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return self._clock.now

    def follow(self) -> int:
        """Return when the process is gone, with its exit status."""
        while self._trainer.exit_status is None:
            self._trainer.changed.wait(TICK_S)
            self._trainer.changed.clear()
            self._look(self._clock.tick())
        return self._trainer.join()

    def _look(self, now: float) -> None:
        if self._trainer.beats != self._beats:
            self._beats, self._progressed = self._trainer.beats, now
        if not self._keeper.away:
            self._reached = now
        if self._keeper.lost:
            self._trainer.kill()
        elif self._told is None:
            self._look_for_stall(now)
            self._look_for_wish(now)
        else:
            self._look_at_grace(now, self._told)

    def _look_for_stall(self, now: float) -> None:
        limit_s = self._settings.stall_s if self._trainer.phase == "steps" else self._settings.setup_stall_s
        if now - self._progressed > limit_s:
            self._kill(f"made no progress for {limit_s:.0f} s, so it was stopped")

    def _look_for_wish(self, now: float) -> None:
        self._choose_wish(now)
        if self._told is not None and not self._trainer.phase:
            # Its libraries are still loading: there is nothing to save, so nobody waits for it.
            self._kill("had not begun, so it was stopped at once")

    def _choose_wish(self, now: float) -> None:
        left_s, away_s = self._attempt.time_left_s, self._settings.redis_away_s
        if self._stopping.is_set():
            self._ask("shutdown", now)
        elif self._keeper.wish != "none":
            self.wish, self._told = self._keeper.wish, now  # the trainer reads it by itself
        elif left_s is not None and now >= left_s:
            self.why = f"Its time limit of {in_words(self._attempt.elapsed_s + left_s)} is reached."
            self._ask("pause", now)
        elif now - self._reached >= away_s:
            self.why = f"Redis could not be reached for {in_words(away_s)}."
            self._ask("pause", now)

    def _ask(self, wish: Literal["pause", "shutdown"], now: float) -> None:
        self.wish, self._told = wish, now
        self._trainer.ask(wish)

    def _look_at_grace(self, now: float, told: float) -> None:
        grace_s = self._settings.grace_s
        if now - max(told, self._progressed) > grace_s or now - told > self._settings.save_limit_s:
            self._kill(f"did not save within {grace_s:.0f} s, so it was stopped")

    def _kill(self, because: str) -> None:
        self.killed_because = because
        self._trainer.kill()


def in_words(seconds: float) -> str:
    """A duration for a person: 45 s, 10 min, 2 h, 1 h 30 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])
