"""What a process logs, and how much of it."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import structlog
from typing_extensions import override

from api.__main__ import main as api_main
from shared.logs import Style, carry
from tests.logging_here import configured_logs
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


def records(written: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_that_finds_no_room_is_dropped_and_nobody_fails() -> None:
    disk = FullDisk()
    with configured_logs(stream=disk):
        log = structlog.get_logger()
        log.warning("lost")
        logging.getLogger("celery").warning("lost")
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
    why = "Input should be 'debug', 'info', 'warning' or 'error'."
    assert told == f"SPECTRAIN_LOG_LEVEL in the environment cannot work: {why}\n"


def test_every_line_says_what_its_process_is_at() -> None:
    with configured_logs() as written:
        log = structlog.get_logger()
        carry(worker="pc/cpu", device="cpu", job=7, attempt=2)
        thread = threading.Thread(target=lambda: log.info("from.elsewhere"))
        thread.start()
        thread.join()
        logging.getLogger("celery.worker").warning("Connection to broker lost, %s", "again")
        log.info("ticket", job=8)
        carry(job=None, attempt=None)
        log.info("idle")
        elsewhere, celery, ticket, idle = records(written)
        for record in (elsewhere, celery):
            assert (record["worker"], record["device"], record["job"], record["attempt"]) == ("pc/cpu", "cpu", 7, 2)
            assert record["timestamp"].endswith("Z")
        assert (celery["event"], celery["logger"], celery["level"]) == (
            "Connection to broker lost, again",
            "celery.worker",
            "warning",
        )
        assert ticket["job"] == 8, "a line knows best what it is about"
        assert "job" not in idle
        assert idle["device"] == "cpu"


def test_a_warning_and_a_thread_that_ends_are_lines_like_any_other() -> None:
    with configured_logs() as written:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=False)
            logging.captureWarnings(capture=True)
            warnings.warn("this goes", DeprecationWarning, stacklevel=1)
            logging.captureWarnings(capture=False)

        def crash() -> None:
            raise ValueError("of no use")

        thread = threading.Thread(target=crash, name="reporter")
        thread.start()
        thread.join()
        warned, crashed = records(written)
        assert "this goes" in warned["event"]
        assert (crashed["event"], crashed["thread"], crashed["level"]) == ("thread.crashed", "reporter", "critical")
        assert crashed["exception"].endswith("ValueError: of no use")


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_looks_like_a_secret_is_struck_out(style: Style) -> None:
    with configured_logs(style=style) as written:
        log = structlog.get_logger()
        log.info("a", url="redis://worker:s3cret-_x@10.0.0.1:6379/0")
        log.info("b", error="at postgresql+psycopg://me:s3cret@db/x: no route")
        log.info("c", header="Authorization: Bearer s3cret.s3cret==")
        log.info("d", told="the token spt_s3cret-s3cret_1 is unknown")
        logging.getLogger("kombu").error("Cannot connect to rediss://:s3cret@host:1//")
        try:
            json.loads("no way to http://u:s3cret@proxy/")  # its traceback shows this line
        except ValueError:
            log.exception("f")
        told = written.getvalue()
        assert "s3cret" not in told
        assert told.count("***") == 6
        assert "redis://***@10.0.0.1:6379/0" in told


def test_an_address_without_a_secret_stays_whole() -> None:
    with configured_logs() as written:
        structlog.get_logger().info("a", url="http://127.0.0.1:8000/jobs/1", mail="me@home")
        [record] = records(written)
        assert (record["url"], record["mail"]) == ("http://127.0.0.1:8000/jobs/1", "me@home")


@pytest.mark.parametrize("style", ["json", "console"])
def test_nobody_can_forge_a_line(style: Style) -> None:
    with configured_logs(style=style) as written:
        hostile = 'x.wav\n2026-01-01T00:00:00.000000Z [error    ] attempt.ended\r\x1b[31m\x85"'
        structlog.get_logger().warning("upload.refused", name=hostile)
        logging.getLogger("werkzeug").warning("%s", hostile)
        assert len(written.getvalue().splitlines()) == 2
        assert "\x1b" not in written.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_nobody_can_forge_a_line_by_an_exception(style: Style) -> None:
    def fail(told: str) -> None:
        raise ValueError(told)

    with configured_logs(style=style) as written:
        hostile = "x.wav\n2026-01-01T00:00:00.000000Z [error    ] attempt.ended\r\x1b[31m\x85"
        for log in (structlog.get_logger(), logging.getLogger("werkzeug")):
            try:
                fail(hostile)
            except ValueError:
                log.exception("upload.failed")
        lines = written.getvalue().splitlines()
        records = [line for line in lines if not line.startswith("  | ")]
        assert len(records) == 2
        assert all("upload.failed" in line for line in records)
        assert "\x1b" not in written.getvalue()
        if style == "console":
            assert lines.count("  | Traceback (most recent call last):") == 2
            assert "  | ValueError: x.wav" in lines


def test_text_for_a_terminal() -> None:
    with configured_logs(style="console") as written:
        structlog.get_logger().warning("attempt.ended", job=7, outcome="crashed")
        line = written.getvalue()
        assert line.split()[1:] == ["[warning", "]", "attempt.ended", "job=7", "outcome=crashed"]
