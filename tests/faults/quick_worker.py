"""`python -m tests.faults.quick_worker`: the real worker, whose trainer has the quick engine.

Where a file `dies-<name>` lies in the data folder, the worker is killed between taking a ticket and claiming it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Final

from shared.jobs import Ticket
from worker import trainer_process
from worker.__main__ import main
from worker.bell import BELL_THREAD
from worker.supervisor import Supervisor

QUICK_WORKER: Final = "tests.faults.quick_worker"


def die_between_pop_and_claim() -> None:
    """Kill this process on its next ticket where the file says so."""
    accept = Supervisor.accept

    def accept_or_die(self: Supervisor, ticket: Ticket) -> str:
        marker = self._settings.data / f"dies-{self._worker}"
        if marker.exists() and threading.current_thread().name == BELL_THREAD:
            return "busy"  # it is to die with Celery's message in its hand
        if marker.exists():
            marker.rename(marker.with_name(f"died-{self._worker}"))
            os.kill(os.getpid(), signal.SIGKILL)
        return accept(self, ticket)

    Supervisor.accept = accept_or_die


if __name__ == "__main__":
    trainer_process.TRAINER = "tests.faults.quick_trainer"
    die_between_pop_and_claim()
    sys.exit(main())
