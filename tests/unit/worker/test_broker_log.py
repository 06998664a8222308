"""What a worker says of its connection to Redis: once and in our words, and not with every try of Celery's."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
from celery.worker.consumer import consumer

from tests.logging_here import configured_logs
from worker.broker_log import CONSUMER, hush_connection_lines, is_other


@pytest.fixture(autouse=True)
def hushed() -> Iterator[None]:
    hush_connection_lines()
    yield
    logging.getLogger(CONSUMER).removeFilter(is_other)


def say_it_all() -> None:
    """As Celery does when Redis goes away, and when somebody sends it what it does not know."""
    consumer.warn("%s (%r)", consumer.CONNECTION_RETRY, ConnectionError("closed"))
    consumer.error(consumer.CONNECTION_ERROR, "redis://device:**@studio:6379/0", "Error 111", "Trying again in 2 s")
    consumer.error("Received unregistered task of type %s.", "shout")


@pytest.mark.parametrize(("level", "events"), [("info", 1), ("debug", 3)])
def test_tries_to_connect_again_are_for_debugging(level: str, events: int) -> None:
    written = StringIO()
    with configured_logs(level, stream=written):
        say_it_all()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert len(lines) == events
    assert "shout" in lines[-1]["event"], "everything else is said as before"
    assert [line["event"] for line in lines[:-1]] == ["broker.trouble"] * (events - 1)
