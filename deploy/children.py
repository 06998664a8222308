"""Processes that are kept alive over a data folder: started, watched, started again with growing pauses, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from deploy.data_folder import DataFolder, FolderInUseError, FolderLock, ProcessEntry
from deploy.log_follower import LogFollower
from deploy.stopping import longest_stop_s, stop_in_order

_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A process that lived so long ended for a new reason: the pauses begin at one second again."""
_LOOK_EVERY_S: Final = 0.1

Say = Callable[[str], None]
"""Takes a sentence for the person at the terminal."""


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

    def revive(self, say: Say) -> bool:
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


class Crew:
    """The processes at work on the data folder `folder`, which keeps a list of them. `say` gets what goes wrong.

    A disk that is full or fails ends nothing: what could not be done is told once, and tried again in the next round.
    """

    def __init__(self, folder: DataFolder, say: Say) -> None:
        self._folder = folder
        self._say = say
        self._children: list[Child] = []
        self._written_down = True
        self._failing: dict[str, str] = {}
        """What failed in the newest round, and why."""

    def add(self, role: str, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start one more process, whose log is called `name`."""
        log = self._folder.logs / f"{name}.log"
        child = Child(role=role, name=name, command=command, environment=environment, log=log)
        child.start()
        self._children.append(child)
        self._write_down()
        return child

    def look_after(self, *, but: Child | None = None) -> None:
        """Repeat errors of all logs, start again what ended, except `but`."""
        for child in self._children:
            with self._going_on(f"Reading the log of {child.name}"):
                for error in child.log.errors():
                    self._say(f"{child.name}: {error}")
            with self._going_on(f"Starting {child.name}"):
                if child is not but and child.revive(self._say):
                    self._written_down = False
        if not self._written_down:
            self._write_down()

    def stop(self, *, hurry: Callable[[], bool]) -> None:
        """Stop all of them in order; kill what is left once `hurry` says so."""
        entries = [entry for child in self._children if (entry := child.entry()) is not None]
        stop_in_order(entries, say=self._say, hurry=hurry)
        for child in self._children:
            if child.process is not None:
                child.process.wait()
        self._children = []
        with suppress(OSError):  # the list of processes that are gone does no harm
            self._folder.write_processes([])

    def _write_down(self) -> None:
        self._written_down = False
        entries = (child.entry() for child in self._children)
        with self._going_on("Keeping the list of processes"):
            self._folder.write_processes([entry for entry in entries if entry is not None])
            self._written_down = True

    @contextmanager
    def _going_on(self, what: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            if self._failing.get(what) != why:
                self._say(f"{what} failed ({why}). All else goes on, and it is tried again.")
            self._failing[what] = why
        else:
            self._failing.pop(what, None)


class StopWishes:
    """Counts how often a person, or the system, asked this process to stop, from the moment it is made."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1

    def more_than_now(self) -> Callable[[], bool]:
        """Whether somebody asked again, after the first time."""
        before = max(1, self.count)
        return lambda: self.count > before


def take_over(folder: DataFolder, wishes: StopWishes, say: Say) -> FolderLock:
    """The lock of `folder`, with nothing left at work on it; waits for the guardian of one that was killed.

    Raises FolderInUseError where another one runs on it.
    """
    deadline = time.monotonic() + longest_stop_s()
    told = False
    while True:
        try:
            lock = FolderLock(folder)
        except FolderInUseError as error:
            if not error.stopping or wishes.count or time.monotonic() > deadline:
                raise
            if not told:
                say("The Spectrain that ran here before was killed; waiting until its workers have saved.")
                told = True
            time.sleep(_LOOK_EVERY_S)
        else:
            left = folder.read_processes()
            if left:
                say("Stopping what an earlier Spectrain left at work here; its workers save. Ctrl-C twice kills.")
            stop_in_order(left, say=say, hurry=wishes.more_than_now())
            return lock
