"""A process with limits of its own that decodes audio files for the api, one at a time; threads take turns.

`probe_child` does the decoding; it gets files open, and could open none of them by itself. The process is started at
the first file, reused for the next ones and started anew when a file brought it down or kept it busy for too long.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from shared.errors import ServiceError

CHILD: Final = Path(__file__).with_name("probe_child.py")
TIMEOUT_S: Final = 180.0
"""Wall-clock time for one file; the child's own limit of processor time is shorter."""
_CHUNK_BYTES: Final = 65_536


class LimitedDecoder:
    """Asks the process. `close` ends it; a later question starts another."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, child: Path = CHILD) -> None:
        self._timeout_s = timeout_s
        self._child = child
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def ask(self, path: Path, **wishes: object) -> dict[str, Any]:
        """What the process says of the file at `path`; one that it does not survive is refused as slow or crashed."""
        with self._lock, path.open("rb") as file:
            return self._ask(json.dumps(wishes).encode(), file.fileno())

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes, file: int) -> dict[str, Any]:
        while True:
            process, fresh = self._started()
            answer = self._exchange(process, request, file)
            if answer is not None:
                return answer
            status = self._end()
            # One that was idle for long ends by itself, perhaps at this very moment: ask another.
            if status == 0 and not fresh:
                continue
            if status == 0:
                raise ServiceError("The process that reads uploaded files does not start: see the api's log.")
            slow = status in (-signal.SIGXCPU, -signal.SIGKILL)
            return {"refused": "slow" if slow else "crashed", "reason": ""}

    def _started(self) -> tuple[subprocess.Popen[bytes], bool]:
        """The process, and whether it is a new one."""
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self._end()
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(self._child)],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        return self._process, True

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes, file: int) -> dict[str, Any] | None:
        """The process's answer about an open file; None where it ended without one or had to be killed."""
        requests, answers = self._requests, process.stdout
        if requests is None or answers is None:
            return None
        try:
            socket.send_fds(requests, [request], [file])
        except (BrokenPipeError, ConnectionResetError):
            return None
        deadline = time.monotonic() + self._timeout_s
        line = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    process.kill()
                    return None
                chunk = answers.read(_CHUNK_BYTES)
                if not chunk:
                    return None
                line += chunk
        return json.loads(line)

    def _end(self) -> int:
        """End the process where there is one, and give its exit status; 0 where there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for end in (self._requests, process.stdout):
            if end is not None:
                end.close()
        self._requests = None
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
