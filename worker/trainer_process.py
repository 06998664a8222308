"""The trainer process, seen from its supervisor: started, spoken to, listened to, ended.

It is a fresh interpreter in its own process session, with its device pinned by its environment before torch is
imported. It waits, warm, for one attempt; it ends with it. Its standard input is also its lifeline: when the
supervisor is gone, it reads end-of-file and exits at once (on Linux a parent-death signal does the same, sooner).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Literal, cast

import structlog

from shared.devices import Device, pinned_environment
from shared.jobs import AttemptSpec

FENCED_EXIT: Final = 75
"""Exit status of a trainer that learned that a newer attempt owns the job."""
TRAINER: Final = "worker.trainer"
"""The module that is the trainer process."""
_TAIL_LINES: Final = 60
_TEXT_LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[")
"""How a line of `shared.logs` begins in its form for a terminal."""


log = structlog.get_logger(__name__)


class TrainerProcess:
    """One trainer process. `changed` is set whenever it said something or ended."""

    def __init__(self, *, device: Device, environment: Mapping[str, str], program: Sequence[str] = ()) -> None:
        """Start it. To be called by a thread that lives as long as the worker, since the parent-death signal
        comes when the thread that started the process ends."""
        report_read, report_write = os.pipe()
        self.changed = threading.Event()
        self.phase = ""
        """What it does, by its last beat: setup or steps; empty before it was given an attempt."""
        self.beats = 0
        """How often it said that it made progress."""
        self.result: dict[str, Any] | None = None
        """What it reported as its end, if it came to that."""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process = subprocess.Popen(
            [sys.executable, *(program or ("-m", TRAINER)), "--report-fd", str(report_write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[report_write],
            start_new_session=True,
            env={**os.environ, **environment, **pinned_environment(device), "PYTHONUNBUFFERED": "1"},
        )
        os.close(report_write)
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._speak, name="trainer-input", daemon=True),
            threading.Thread(target=self._listen, args=(report_read,), name="trainer-reports", daemon=True),
            threading.Thread(target=self._keep_output, name="trainer-output", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id, also the id of its session and group."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; None while it lives."""
        return self._process.poll()

    @property
    def tail(self) -> str:
        """The last lines that it wrote."""
        return "".join(self._tail)

    def begin(self, attempt: AttemptSpec, *, threads: int | None = None) -> None:
        """Give it its attempt, and the threads to compute with where that is not for torch to decide."""
        self._send({"attempt": attempt.model_dump(mode="json"), "threads": threads})

    def ask(self, wish: Literal["pause", "shutdown"]) -> None:
        """Ask it to save and end."""
        self._send({"wish": wish})

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # it ended meanwhile; macOS refuses to signal a group of which only that is left

    def join(self) -> int:
        """Wait until it is gone and everything that it said is read; returns its exit status."""
        status = self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join()
        return status

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(message).encode() + b"\n")

    def _speak(self) -> None:
        """Write what is to be told; one that does not read keeps this thread waiting, never the supervisor's."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe above
        # Broken where it ended meanwhile; its exit status tells.
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            for message in iter(self._outbox.get, None):
                pipe.write(message)
                pipe.flush()

    def _listen(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as reports:
            for line in reports:
                try:
                    message = cast(dict[str, Any], json.loads(line))
                except json.JSONDecodeError:
                    break  # killed in the middle of a line, which is then the last
                if "beat" in message:
                    self.phase = str(message["beat"])
                    self.beats += 1
                if "result" in message:
                    self.result = message["result"]
                self.changed.set()
        self.changed.set()

    def _keep_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe above
        with self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace")
                self._tail.append(text)
                if _is_log_line(text):
                    with suppress(OSError):  # a full disk; whoever stops reading here breaks the trainer's output
                        sys.stderr.write(text)
                else:
                    log.warning("trainer.output", text=text.rstrip())


def _is_log_line(text: str) -> bool:
    """Whether our own logs wrote it; anything else comes from the libraries below."""
    return text.startswith('{"') or _TEXT_LINE.match(text) is not None
