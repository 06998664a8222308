"""What a process logs, and how much of it."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
import structlog
from typing_extensions import override

from api.__main__ import main as api_main
from shared.logs import configure_logs
from worker.__main__ import main as worker_main


class FullDisk(StringIO):
    """A log on a disk that takes nothing while it is full."""

    full = True

    @override
    def write(self, text: str) -> int:
        self._take()
        return super().write(text)

    @override
    def flush(self) -> None:
        self._take()

    def _take(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_that_finds_no_room_is_dropped_and_nobody_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    configure_logs("info")
    log = structlog.get_logger()
    log.warning("lost")
    disk.full = False
    log.warning("kept", job=7)
    (line,) = disk.getvalue().splitlines()
    assert json.loads(line)["event"] == "kept"
    assert json.loads(line)["job"] == 7


@pytest.mark.parametrize("main", [api_main, worker_main])
def test_an_unknown_log_level_is_refused_in_a_sentence(
    main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPECTRAIN_LOG_LEVEL", "verbose")
    monkeypatch.setattr(sys, "argv", ["spectrain"])
    assert main() == 1
    told = capsys.readouterr().err
    assert told == "A setting cannot work: log_level: Input should be 'debug', 'info', 'warning' or 'error'.\n"
