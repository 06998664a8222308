"""How events travel: a Redis stream per job for truth, pub/sub for speed.

One script numbers the events of a batch, appends them to `spectrain:job:<id>:events` under their number as the
stream id, each as a field that has the name of its attempt, and publishes them on `spectrain:events:<id>`, all in one
round trip. It refuses an attempt that is no longer the newest. Each writer counts what it writes, so that a batch sent
again after a lost answer is applied once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from pydantic_core import from_json
from redis import Redis

from shared.control import control_key
from shared.errors import LeaseLostError
from shared.events import Event, LogLine, WorkerHeartbeat
from shared.lease import STANDING, UnknownAttemptError, lease_key
from shared.redis_client import KEY_PREFIX

EVENT_CHANNEL: Final = f"{KEY_PREFIX}events:"
"""Pub/sub channel of a job is this and its id; a message has a line `<number> <event as JSON>` for each event."""
WORKER_CHANNEL: Final = f"{KEY_PREFIX}workers"
"""Pub/sub channel of heartbeats."""
WORKER_KEY: Final = f"{KEY_PREFIX}worker:"
PAGE: Final = 500
"""Events that are read of one stream at once."""
WORKER_TTL_S: Final = 10
"""A worker that sent no heartbeat for so long is offline."""
DELETED_TTL_S: Final = 86_400
"""What Redis knows of a deleted job stays for so long."""
_STREAMS: Final = f"{KEY_PREFIX}streams"
"""Set of the jobs that have a stream."""

_MESSAGE_BYTES: Final = 64 << 10
"""Events that are published together are that long, give or take one."""
_STALE: Final = -1
_UNKNOWN: Final = -2

log = structlog.get_logger(__name__)

_PUBLISH: Final = (
    STANDING
    + f"local most = {_MESSAGE_BYTES}\n"
    + """
if ARGV[6] == '1' then
  local stands = standing(KEYS[1], tonumber(ARGV[1]), ARGV[7])
  if stands ~= 'newest' then return {stands == 'stale' and -1 or -2, 0} end
end
local done = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
local last = math.max(tonumber(redis.call('HGET', KEYS[2], 'last') or '0'), tonumber(ARGV[3]))
local room = tonumber(ARGV[5])
if room > 0 then room = math.max(0, room - redis.call('XLEN', KEYS[3])) else room = #ARGV end
local taken = 0
local lines, size = {}, 0
local function tell()
  if size > 0 then redis.call('PUBLISH', ARGV[4], table.concat(lines, '\\n')) end
  lines, size = {}, 0
end
for i = 8, #ARGV, 2 do
  local count = tonumber(ARGV[i])
  if count > done then
    if room == 0 then break end
    room = room - 1
    last = last + 1
    redis.call('XADD', KEYS[3], last .. '-0', ARGV[1], ARGV[i + 1])
    lines[#lines + 1] = last .. ' ' .. ARGV[i + 1]
    size = size + #ARGV[i + 1]
    if size > most then tell() end
    done = count
  end
  taken = taken + 1
end
tell()
redis.call('HSET', KEYS[2], 'last', last, ARGV[2], done)
redis.call('SADD', KEYS[4], string.match(ARGV[4], '%d+$'))
return {last, taken}
"""
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An event on its way: its wire form, and which one of its writer's it is."""

    writer: str
    """Who counts it: a trainer, a supervisor or the api."""
    count: int
    """Grows with every event of the writer; one that Redis took is never taken again."""
    text: str
    """The event as JSON."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of entries."""

    last: int
    """Number of the job's newest event."""
    taken: int
    """How many, from the first one on, are in the stream now or were before; the rest found no room."""


_RAISE_FLOOR: Final = """
if tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[1], 'last') or '0') then
  redis.call('HSET', KEYS[1], 'last', ARGV[1])
end
"""
_FORGET: Final = """
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
"""


def _numbers_key(job_id: int) -> str:
    return f"{KEY_PREFIX}job:{job_id}:numbers"


def _stream_key(job_id: int) -> str:
    return f"{KEY_PREFIX}job:{job_id}:events"


class EventBus:
    """Publishing and reading of events. Every method raises redis.RedisError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH)
        self._forget = redis.register_script(_FORGET)
        self._raise_floor = redis.register_script(_RAISE_FLOOR)

    def publish(
        self,
        events: Sequence[Event],
        *,
        writer: str,
        first_count: int,
        floor: int = 0,
        secret: str | None,
    ) -> int:
        """Number, keep and publish `events`, all of one job and one attempt.

        `writer` and `first_count` (1, 2, 3 … as this writer counts its events) make a repeated call harmless.
        Numbers go on above `floor`. Returns the number of the job's newest event. `secret` proves that they are the
        attempt's; LeaseLostError is raised where it does not, or a newer attempt was granted. None is for the api,
        whose events are of the record and refused by nobody.
        """
        entries = [
            Entry(writer=writer, count=count, text=event.to_json()) for count, event in enumerate(events, first_count)
        ]
        return self.send(events[0].job_id, events[0].attempt, entries, floor=floor, secret=secret).last

    def send(
        self,
        job_id: int,
        attempt: int,
        entries: Sequence[Entry],
        *,
        floor: int = 0,
        secret: str | None,
        room: int | None = None,
    ) -> Sent:
        """The same for events of one writer that are counted and written already.

        Once the stream holds `room` events, no more are taken. Raises UnknownAttemptError, a RedisError, where Redis
        has yet to be told of the attempt again.
        """
        last, taken = cast(
            list[int],
            self._publish(
                keys=[lease_key(job_id), _numbers_key(job_id), _stream_key(job_id), _STREAMS],
                args=[
                    attempt,
                    entries[0].writer,
                    floor,
                    f"{EVENT_CHANNEL}{job_id}",
                    room or 0,
                    int(secret is not None),
                    secret or "",
                    *(part for entry in entries for part in (entry.count, entry.text)),
                ],
            ),
        )
        if last == _UNKNOWN:
            raise UnknownAttemptError(f"Redis does not know attempt {attempt} of job {job_id}")
        if last == _STALE:
            raise LeaseLostError(f"Job {job_id} is run by a newer attempt than {attempt}; this one stops.")
        return Sent(last=last, taken=taken)

    def read(self, after: Mapping[int, int]) -> dict[int, list[Event]]:
        """Events of jobs with numbers above those of `after`, in order, at most PAGE of each, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id, number in after.items():
                pipe.xrange(_stream_key(job_id), min=f"({number}-0", max="+", count=PAGE)
            answers = cast(list[list[tuple[str, dict[str, str]]]], pipe.execute())
        return {
            job_id: [_numbered(job_id, entry_id, fields) for entry_id, fields in entries]
            for job_id, entries in zip(after, answers, strict=True)
        }

    def newest(self, job_ids: Sequence[int]) -> dict[int, int]:
        """Number of the newest event of each of these jobs; 0 where there is none, or where it has been forgotten."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(_numbers_key(job_id), "last")
            answers = cast(list[str | None], pipe.execute())
        return {job_id: int(number or 0) for job_id, number in zip(job_ids, answers, strict=True)}

    def forget(self, up_to: Mapping[int, int]) -> None:
        """Drop jobs' events up to these numbers, and from `streams` those jobs that have no others."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id, number in up_to.items():
                self._forget(keys=[_stream_key(job_id), _STREAMS], args=[job_id, f"{number + 1}-0"], client=pipe)
            pipe.execute()

    def leave_job(self, job_id: int) -> None:
        """Have all keys of a deleted job go in a while: until then a worker that was cut off is refused by them."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key in (_numbers_key(job_id), _stream_key(job_id), lease_key(job_id), control_key(job_id)):
                pipe.expire(key, DELETED_TTL_S)
            pipe.execute()

    def streams(self) -> set[int]:
        """Jobs that have a stream; the next event of one that was dropped brings it back."""
        return {int(name) for name in cast(set[str], self._redis.smembers(_STREAMS))}

    def raise_floor(self, job_id: int, last: int) -> None:
        """Make sure that the next number is above `last`, after Redis lost what it had not yet written."""
        self._raise_floor(keys=[_numbers_key(job_id)], args=[last])

    def beat(self, heartbeat: WorkerHeartbeat) -> None:
        """Tell that a worker is there."""
        text = heartbeat.model_dump_json()
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"{WORKER_KEY}{heartbeat.name}", text, ex=WORKER_TTL_S)
        pipe.publish(WORKER_CHANNEL, text)
        pipe.execute()

    def leave(self, heartbeat: WorkerHeartbeat) -> None:
        """Tell that a worker is gone."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(f"{WORKER_KEY}{heartbeat.name}")
        pipe.publish(WORKER_CHANNEL, heartbeat.model_copy(update={"state": "offline"}).model_dump_json())
        pipe.execute()

    def heartbeats(self, workers: Sequence[str]) -> list[str | None]:
        """The newest heartbeat of each of `workers`, as JSON; None for one that is offline. One round trip."""
        if not workers:
            return []
        return cast(list[str | None], self._redis.mget([f"{WORKER_KEY}{worker}" for worker in workers]))


def parse_line(line: str) -> dict[str, Any]:
    """A line of a message of pub/sub as a JSON object with its number, unvalidated: the script made it of an Event."""
    number, _, text = line.partition(" ")
    event = cast(dict[str, Any], from_json(text, allow_inf_nan=False))
    event["number"] = int(number)
    return event


def _numbered(job_id: int, entry_id: str, fields: Mapping[str, str]) -> Event:
    """The event, or in its place one that says that it could not be read: a number is never left out.

    What it says of its job and attempt must be what its sender proved.
    """
    number = int(entry_id.partition("-")[0])
    try:
        [(attempt, text)] = fields.items()
        event = Event.from_json(text)
    except ValueError as error:  # or pydantic's ValidationError, which is one
        log.warning("event.unreadable", job=job_id, number=number, error=str(error))
    else:
        if (event.job_id, event.attempt) == (job_id, int(attempt)):
            return event.model_copy(update={"number": number})
        log.warning("event.misplaced", job=job_id, number=number, of_job=event.job_id, of_attempt=event.attempt)
    body = LogLine(level="error", message=f"Event {number} could not be read; another version may have sent it.")
    return Event(job_id=job_id, number=number, attempt=0, at=time.time(), body=body)
