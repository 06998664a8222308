"""Watches over a launcher and cleans up when it is killed: `python -m deploy.guardian DATA`.

Standard input is a pipe from the launcher. `done` on it means that all was stopped in good order; end of file without
it, that the launcher is gone. Then this stops in order what stands in the data folder. It holds the folder's lock
until that is done, so that a new start waits instead of meeting the old processes. It works the same on Linux and
macOS, where there is no parent-death signal.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.data_folder import DataFolder, FolderLock
from deploy.stopping import stop_in_order

_DONE: Final = b"done"


class Guardian:
    """The launcher's end: a guardian process over `folder` that holds `lock` too."""

    def __init__(self, folder: DataFolder, lock: FolderLock) -> None:
        with (folder.logs / "guardian.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.guardian", str(folder.path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parent.parent,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )

    def dismiss(self) -> None:
        """Tell that everything was stopped, and wait until the guardian is gone."""
        self._process.communicate(_DONE)


def main(data: str) -> int:
    """Wait for the launcher's end; stop in order what it left."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # ends with its launcher, and by nothing else
    if sys.stdin.buffer.read() == _DONE:
        return 0
    say("The launcher is gone; stopping what it started.")
    folder = DataFolder(Path(data))
    stop_in_order(folder.read_processes(), say=say)
    with contextlib.suppress(OSError):  # the list of processes that are gone does no harm
        folder.write_processes([])
    say("All stopped.")
    return 0


def say(text: str) -> None:
    """Write a line into the guardian's log, where the disk has room for it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
