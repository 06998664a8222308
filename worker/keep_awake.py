"""Keeps the machine from falling asleep while it works, where the system offers a way; silent where it does not.

Linux: systemd-inhibit around a process that ends with our end of a pipe. macOS: caffeinate, which ends with the process
that it watches. Neither outlives a worker that was killed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress


@contextmanager
def kept_awake(pid: int) -> Generator[None]:
    """Keep the machine awake for the block, or until the process `pid` is gone."""
    command = _command(pid)
    if command is None:
        yield
        return
    try:
        # A session of its own: whatever asks for a password must not find a terminal.
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError, subprocess.TimeoutExpired):
            guard.communicate(timeout=1.0)
        guard.kill()
        guard.wait()


def _command(pid: int) -> list[str] | None:
    if sys.platform == "darwin":
        program = shutil.which("caffeinate")
        return None if program is None else [program, "-i", "-w", str(pid)]
    program = shutil.which("systemd-inhibit")
    why = ["--what=sleep:idle", "--who=Spectrain", "--why=A training is running", "--mode=block"]
    return None if program is None else [program, *why, "cat"]
