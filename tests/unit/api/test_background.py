"""The loop of outbox, recorder and scheduler: no fault ends it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import OperationalError
from typing_extensions import override

from api import background
from api.background import Background

LIMIT_S = 10.0


class Fragile(Background):
    """Fails in its first rounds."""

    def __init__(self, failures: int) -> None:
        super().__init__("fragile", every_s=0.01)
        self.rounds = 0
        self.recovered = threading.Event()
        self.seen: list[str] = []
        self._failures = failures
        self.fault: Exception = OSError("disk full")

    @override
    def work(self) -> None:
        self.seen.append(self.trouble)
        self.rounds += 1
        if self.rounds <= self._failures:
            raise self.fault
        if self.rounds > self._failures + 1:
            self.recovered.set()


def test_a_fault_is_told_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_RETRY_S", 0.01)
    part = Fragile(failures=3)
    part.start()
    assert part.recovered.wait(LIMIT_S)
    part.stop()
    assert part.seen[:5] == ["", *["OSError: disk full"] * 3, ""]
    assert part.trouble == ""


def test_what_is_told_holds_no_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_RETRY_S", 0.01)
    part = Fragile(failures=2)
    part.fault = OperationalError("UPDATE jobs SET secret=?", ("s3cret",), OSError("database or disk is full"))
    part.start()
    assert part.recovered.wait(LIMIT_S)
    part.stop()
    assert part.seen[1] == "OperationalError: database or disk is full"


def test_stopping_does_not_wait_for_the_next_round() -> None:
    part = Fragile(failures=0)
    part._every_s = 3600.0
    part.start()
    part.stop()
    assert part.rounds <= 1
