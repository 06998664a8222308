"""What a trainer would report about a job that nobody runs: events at a steady rate through the real reporter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis

from shared.event_bus import EventBus
from shared.events import LogLine
from shared.lease import Leases
from shared.redis_client import connect
from tests.system import JobJson, System
from worker.reporter import Sender, StreamReporter
from worker.spool import Spool

_ATTEMPT = 1
_SECRET = "only this test knows it"
_STREAM_EVENTS = 10_000


class Writes:
    """Log lines `write 1`, `write 2` … that are reported one by one, evenly spread."""

    def __init__(self, reporter: StreamReporter, *, total: int, per_s: float, padding: int) -> None:
        self.total = total
        self._reporter = reporter
        self._per_s = per_s
        self._padding = f" {'.' * padding}" if padding else ""
        self._enough = threading.Event()
        self._written = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="writes", daemon=True)
        self._thread.start()

    def wait(self, share: float = 1.0) -> int:
        """Return when that share of them was reported; returns how many were."""
        with self._changed:
            self._changed.wait_for(lambda: self._written >= share * self.total)
            return self._written

    def enough(self) -> int:
        """Report no more; returns how many were reported."""
        self._enough.set()
        self._thread.join()
        return self._written

    def join(self) -> None:
        """Wait until all were reported."""
        self._thread.join()

    def _write(self) -> None:
        started = time.monotonic()
        for number in range(1, self.total + 1):
            if self._enough.wait(max(0.0, started + number / self._per_s - time.monotonic())):
                return
            self._reporter.publish(LogLine(message=f"write {number}{self._padding}"))
            with self._changed:
                self._written = number
                self._changed.notify_all()


@contextmanager
def writes(
    redis_url: str, owner: Redis, job_id: int, *, total: int, per_s: float, padding: int = 0
) -> Iterator[Writes]:
    """Report about a queued job as its first attempt, each line with `padding` more characters.

    At the end all of it has been sent.
    """
    Leases(owner).grant(job_id, _ATTEMPT, "nobody", _SECRET)
    with TemporaryDirectory() as folder:
        spool = Spool(
            Path(folder), job_id=job_id, attempt=_ATTEMPT, secret=_SECRET, worker="nobody", limit_bytes=1 << 30
        )
        with StreamReporter(
            redis_url,
            spool,
            stream_events=_STREAM_EVENTS,
            on_fenced=lambda: pytest.fail("the reporter was fenced"),
            on_steps=lambda: None,
        ) as reporter:
            writing = Writes(reporter, total=total, per_s=per_s, padding=padding)
            yield writing
            writing.join()
        left = Sender(EventBus(connect(redis_url)), spool, stream_events=_STREAM_EVENTS)
        while left:
            left.send()


def written(system: System, job_id: int) -> list[str]:
    """The lines of `writes` that were recorded, in order."""
    return [each["body"]["message"] for each in system.events(job_id, "log")]


def wait_written(system: System, job_id: int, total: int, timeout_s: float) -> None:
    """Wait until the last line was recorded."""

    def last(_job: JobJson) -> bool:
        page = system.get(f"/jobs/{job_id}/events?after={max(0, total - 1)}&limit=1000&types=log")["events"]
        return any(each["body"]["message"] == f"write {total}" for each in page)

    deadline = time.monotonic() + timeout_s
    while not last({}):
        # The record tells nobody outside the api that it holds something; the live event came before it.
        assert time.monotonic() < deadline, f"write {total} was not recorded within {timeout_s:.0f} s"
        time.sleep(0.1)
