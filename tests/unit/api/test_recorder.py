"""The recorder beside a Redis that goes away at the worst moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError as RedisConnectionError

from api.recorder import Recorder
from shared.events import Event, LogLine
from tests.unit.api.conftest import TwinCore
from tests.unit.api.trainings import Jobs


class Bus:
    """A stream with one event, that is never trimmed."""

    def __init__(self, job_id: int) -> None:
        self.event = Event(job_id=job_id, number=1, attempt=0, at=1.0, body=LogLine(message="hello"))

    def read(self, after: Mapping[int, int]) -> dict[int, list[Event]]:
        return {job_id: [self.event] for job_id, number in after.items() if number < 1}

    def forget(self, _up_to: Mapping[int, int]) -> None:
        raise RedisConnectionError("Redis went away")


def test_what_is_recorded_is_told_although_redis_goes_away_right_after_it(
    client: FlaskClient, core: TwinCore, drums: int
) -> None:
    assert drums == 1
    job_id = int(Jobs(client, core).submit()["id"])
    told: list[tuple[int, bool]] = []
    seen: list[int] = []
    recorder = Recorder(
        core.database,
        cast(Any, Bus(job_id)),
        lambda job_id, *, moved: told.append((job_id, moved)),
        seen=lambda job, events: seen.extend(event.number for event in events if event.job_id == job.id),
    )
    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            recorder.drain(job_id)
    assert told == [(job_id, False)], "once"
    assert seen == [1]
    assert core.jobs.events(job_id).last == 1
