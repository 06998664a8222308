"""What the relay passes on, and in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from api import relay as module
from api.record.jobs import JobRecord
from api.relay import Relay
from shared.event_bus import EVENT_CHANNEL


@pytest.fixture
def relay() -> Relay:
    """A relay without threads and without Redis."""
    return Relay(
        redis_url="redis://127.0.0.1:1",
        jobs=cast(JobRecord, None),
        event_came=lambda _job_id: None,
        heard=lambda _heartbeat: None,
    )


def test_a_job_that_waited_goes_before_those_that_change_again_and_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PER_ROUND", 3)
    for job_id in (1, 2, 3, 9):
        relay.job_changed(job_id)
    assert relay._take() == [1, 2, 3]
    for job_id in (1, 2, 3):
        relay.job_changed(job_id)
    assert relay._take() == [9, 1, 2]
    assert relay._take() == [3]


def test_an_event_that_names_another_job_reaches_nobody(relay: Relay) -> None:
    sent: list[str] = []

    def emit(event: str, data: Mapping[str, Any], room: str) -> None:
        sent.append(f"{event} {data['number']} to {room}")

    relay.emit = emit
    for number, job_id in ((1, 5), (2, 6)):
        relay._pass_on(f"{EVENT_CHANNEL}5", f"{number} {json.dumps({'job_id': job_id})}")
    assert sent == ["event 1 to job:5"]
