"""The loop of outbox, recorder and scheduler: no fault ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import OperationalError
from typing_extensions import override

from api import background
from api.background import Background, Rounds, progressed

LIMIT_S = 10.0


def wait_until(met: Callable[[], bool]) -> None:
    """Nothing tells when a thread has left its round, or ended."""
    deadline = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.001)


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


class Wedged(Background):
    """Waits in its first round until it is let go."""

    def __init__(self) -> None:
        super().__init__("wedged", every_s=3600.0)
        self.began = threading.Event()
        self.let_go = threading.Event()
        self.fault: BaseException | None = None

    @override
    def work(self) -> None:
        self.began.set()
        assert self.let_go.wait(LIMIT_S)
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def wedged() -> Iterator[Wedged]:
    part = Wedged()
    part.start()
    assert part.began.wait(LIMIT_S)
    yield part
    part.let_go.set()
    part.stop()


def test_a_round_that_does_not_end_is_trouble(wedged: Wedged, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wedged.trouble == ""
    monkeypatch.setattr(background, "_STUCK_S", -1.0)
    assert wedged.trouble.startswith("It has been at the same thing for")
    assert not wedged.rounds[0].gone
    wedged.let_go.set()
    wait_until(lambda: wedged.trouble == "")


def test_a_long_round_that_gets_further_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(background.time, "monotonic", lambda: now)
    rounds = Rounds(threading.current_thread())
    with rounds.round():
        now += 59.0
        progressed()
        now += 59.0
        assert rounds.trouble == ""
        now += 2.0
        assert rounds.trouble == "It has been at the same thing for 61 s."
    now += 3600.0
    assert rounds.trouble == ""  # it waits for work


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_told(wedged: Wedged) -> None:
    wedged.fault = SystemExit()
    wedged.let_go.set()
    wait_until(lambda: wedged.rounds[0].gone)
    assert wedged.trouble == "The thread wedged ended: start the api anew."


def test_one_that_was_told_to_stop_is_not(wedged: Wedged) -> None:
    wedged.let_go.set()
    wedged.stop()
    assert not wedged.rounds[0].gone
    assert wedged.trouble == ""
