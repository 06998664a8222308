"""A process that the launcher keeps alive: started, watched, started again with growing pauses."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.data_folder import ProcessEntry
from deploy.log_follower import LogFollower

_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A process that lived so long ended for a new reason: the pauses begin at one second again."""


class Child:
    """One process of the given role. Its output goes to `log`."""

    def __init__(
        self, *, role: str, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.role = role
        self.name = name
        self.log = LogFollower(log)
        self._command = list(command)
        self._environment = dict(environment)
        self._failures = 0
        self._started_at = 0.0
        self._start_at: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, away from the terminal: its Ctrl-C is for the launcher alone."""
        with self.log.path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started_at = time.monotonic()
        self._start_at = None
        return self.process

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def entry(self) -> ProcessEntry | None:
        """What the data folder keeps of it; None while it does not run."""
        if self.process is None or self.process.poll() is not None:
            return None
        return ProcessEntry.of(role=self.role, name=self.name, pid=self.process.pid)

    def revive(self, say: Callable[[str], None]) -> bool:
        """Start it again when it ended and its pause is over; True when it did so just now."""
        if self.running:
            return False
        now = time.monotonic()
        if self._start_at is None:
            self._failures = 1 if now - self._started_at > _STEADY_S else self._failures + 1
            pause_s = min(_LONGEST_PAUSE_S, 2.0 ** (self._failures - 1))
            self._start_at = now + pause_s
            say(f"{self.name} {self.end()}; starting it again in {pause_s:.0f} s. Its log: {self.log.path}")
        if now < self._start_at:
            return False
        self.start()
        return True

    def end(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode if self.process is not None else None
        if code is None:
            return "is running" if self.process is not None else "was not started"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"
