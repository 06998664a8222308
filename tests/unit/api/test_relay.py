"""What the relay passes on, and in which order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, cast

import pytest
from redis import Redis

from api import relay as module
from api.record.jobs import JobRecord
from api.relay import Relay
from shared.event_bus import EVENT_CHANNEL


@pytest.fixture
def came() -> list[bool]:
    """Whether the events that came were urgent."""
    return []


@pytest.fixture
def relay(came: list[bool]) -> Relay:
    """A relay without threads and without Redis."""
    return Relay(
        redis_url="redis://127.0.0.1:1",
        jobs=cast(JobRecord, None),
        newest=lambda job_ids: dict.fromkeys(job_ids, 7),
        event_came=lambda _job_id, *, is_urgent: came.append(is_urgent),
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
        told = json.dumps({"job_id": job_id, "body": {"type": "log"}})
        relay._pass_on(f"{EVENT_CHANNEL}5", f"{number} {told}")
    assert sent == ["event 1 to job:5"]


def test_a_line_that_is_none_costs_itself_alone(relay: Relay) -> None:
    sent: list[int] = []
    relay.emit = lambda _event, data, _room: sent.append(data["number"])
    told = json.dumps({"job_id": 5, "body": {"type": "log"}})
    relay._pass_on(
        f"{EVENT_CHANNEL}5", f'1 {told}\n2 {{"job_id": 5\n3 {told}\n\n4 {told.replace("5", "NaN")}\n5 {told}'
    )
    assert sent == [1, 3, 5]


def test_watchers_are_told_how_far_their_jobs_go_as_soon_as_nothing_is_missed(redis_url: str, owner: Redis) -> None:
    told: SimpleQueue[tuple[str, Mapping[str, Any], str]] = SimpleQueue()
    relay = Relay(
        redis_url=redis_url,
        jobs=cast(JobRecord, None),
        newest=lambda job_ids: dict.fromkeys(job_ids, 7),
        event_came=lambda *_, **__: None,
        heard=lambda _heartbeat: None,
    )
    relay.emit = lambda event, data, room: told.put((event, data, room))
    relay.watched = lambda: [5]
    expected = ("newest", {"job_id": 5, "number": 7}, "job:5")
    relay.start()
    try:
        assert told.get(timeout=10.0) == expected
        for client in owner.client_list(_type="pubsub"):
            owner.client_kill_filter(_id=client["id"])
        assert told.get(timeout=10.0) == expected, "it may have missed something"
        assert owner.pubsub_numpat() == 1
    finally:
        relay.stop()


def test_metrics_may_wait_to_be_recorded_and_ends_may_not(relay: Relay, came: list[bool]) -> None:
    for number, kind in enumerate(("steps", "attempt_ended", "log", "checkpoint")):
        relay._pass_on(f"{EVENT_CHANNEL}5", f"{number} {json.dumps({'job_id': 5, 'body': {'type': kind}})}")
    assert came == [False, True, False, True]


def test_an_event_that_cannot_be_passed_on_is_recorded_as_soon(relay: Relay, came: list[bool]) -> None:
    def emit(_event: str, _data: Mapping[str, Any], room: str) -> None:
        raise KeyError(room)

    relay.emit = emit
    relay._pass_on(f"{EVENT_CHANNEL}5", f"1 {json.dumps({'job_id': 5, 'body': {'type': 'attempt_ended'}})}")
    assert came == [True]
