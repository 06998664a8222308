"""Who runs a job, until when.

One hash per job, `spectrain:job:<id>:lease`: `attempt` is the newest attempt that the scheduler granted (the
fence), `proof` the SHA-1 of its random secret, `claimed` the attempt that a worker took. `worker`, `pid` (which process
that is) and `until` (milliseconds of Redis' own clock) say who and how long. All changes are Lua scripts, so that
looking and writing are one. Whoever acts for an attempt proves it by the secret, which only its worker was given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from redis import Redis
from redis.exceptions import RedisError

from shared.control import control_key
from shared.jobs import AttemptSpec, AttemptSpecAdapter, Ticket
from shared.redis_client import KEY_PREFIX

ClaimResult = Literal["claimed", "stale", "taken", "unwanted"]
"""`stale`: a newer attempt exists, or nothing was left for this one. `taken`: this one runs already. `unwanted`: a
person wants it stopped."""

_OFFER_TTL_S: Final = 300
"""A ticket that was not claimed is sent again, specification and all, long before."""

STANDING: Final = """
local function standing(key, attempt, secret)
  local granted = tonumber(redis.call('HGET', key, 'attempt') or '0')
  if attempt > granted then return 'unknown' end
  if attempt < granted or redis.call('HGET', key, 'proof') ~= redis.sha1hex(secret) then return 'stale' end
  return 'newest'
end
"""
"""Lua that says what an attempt with that secret may do: everything (newest), nothing (stale), or nothing yet
(unknown: Redis lost what it was told, and the scheduler tells it again)."""

_GRANT: Final = """
local granted = tonumber(redis.call('HGET', KEYS[1], 'attempt') or '0')
local attempt = tonumber(ARGV[1])
if attempt > granted then
  redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'worker', ARGV[2], 'until', '0')
  redis.call('HDEL', KEYS[1], 'proof')
end
if attempt >= granted and ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'proof', redis.sha1hex(ARGV[3])) end
"""

_MAY_OFFER: Final = """
local known = redis.call('HMGET', KEYS[1], 'attempt', 'claimed', 'proof')
if tonumber(ARGV[1]) < tonumber(known[1] or '0') then return 0 end
if tonumber(ARGV[1]) <= tonumber(known[2] or '0') then return known[3] == redis.sha1hex(ARGV[3]) and 1 or 0 end
"""

_LEAVE: Final = """
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'attempt', ARGV[1], 'secret', ARGV[3], 'specification', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[6], ARGV[7])
"""

_HOLD: Final = """
local function hold()
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], 'claimed', ARGV[1], 'worker', ARGV[3], 'until', now + ARGV[4], 'pid', ARGV[5])
end
"""

_CLAIM: Final = f"""{STANDING}{_HOLD}
local attempt = tonumber(ARGV[1])
local left = redis.call('HMGET', KEYS[3], 'attempt', 'secret', 'specification')
if left[1] ~= ARGV[1] or standing(KEYS[1], attempt, left[2]) ~= 'newest' then return {{'stale'}} end
if attempt <= tonumber(redis.call('HGET', KEYS[1], 'claimed') or '0') then return {{'taken'}} end
if redis.call('HGET', KEYS[2], 'attempt') == ARGV[1] then
  local wish = redis.call('HGET', KEYS[2], 'wish')
  if wish and wish ~= 'none' then return {{'unwanted'}} end
end
hold()
redis.call('DEL', KEYS[3])
return {{'claimed', left[3]}}
"""

_RENEW: Final = f"""{STANDING}{_HOLD}
local stands = standing(KEYS[1], tonumber(ARGV[1]), ARGV[2])
if stands == 'newest' then hold() end
return stands
"""

_STATUS: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'attempt', 'claimed', 'until', 'pid')
local function number(index) return tonumber(lease[index] or '0') end
return {number(1), number(2), number(3) - now, number(4)}
"""


class UnknownAttemptError(RedisError):
    """Redis lost what it was told of the attempt. The scheduler tells it again, so this is like Redis being away."""


def lease_key(job_id: int) -> str:
    """The hash that holds the lease of a job."""
    return f"{KEY_PREFIX}job:{job_id}:lease"


def attempt_key(worker: str, job_id: int) -> str:
    """The hash that holds what `worker` is to do for a job."""
    return f"{KEY_PREFIX}for:{worker}:attempt:{job_id}"


def offer_channel(worker: str) -> str:
    """Where `worker` hears of what it is offered: the ticket, as JSON."""
    return f"{KEY_PREFIX}for:{worker}"


@dataclass(frozen=True, kw_only=True)
class LeaseStatus:
    """What Redis knows of a job's lease."""

    granted: int
    """Newest attempt that Redis was told of; 0 for none."""
    claimed: int
    """Newest attempt that a worker took; 0 for none."""
    left_s: float
    """Seconds until it lapses; negative when it has."""
    pid: int = 0
    """Process that claimed it, on the machine of its worker; 0 for none."""


class Leases:
    """The leases of all jobs. Every method raises redis.RedisError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._grant = redis.register_script(f"{_GRANT}return math.max(granted, attempt)")
        self._offer = redis.register_script(f"{_MAY_OFFER}{_GRANT}{_LEAVE}return 1")
        self._claim = redis.register_script(_CLAIM)
        self._renew = redis.register_script(_RENEW)
        self._status = redis.register_script(_STATUS)

    def grant(self, job_id: int, attempt: int, worker: str, secret: str = "") -> int:
        """Make `attempt` the newest one, fencing all before it; returns the newest, which may be higher.

        Without a secret it is a fence alone: nobody can claim it until it is granted again, with one.
        """
        return int(cast(int, self._grant(keys=[lease_key(job_id)], args=[attempt, worker, secret])))

    def offer(self, attempt: AttemptSpec, worker: str) -> bool:
        """Grant `attempt` to `worker`, leave its specification there and tell it.

        One that was claimed already stays as it is. False, and nothing is changed, where Redis knows a newer attempt or
        a claimed one of this number with another secret. The specification goes by itself where nobody takes it.
        """
        found = self._offer(
            keys=[lease_key(attempt.job_id), attempt_key(worker, attempt.job_id)],
            args=[
                attempt.attempt,
                worker,
                attempt.secret,
                attempt.model_dump_json(),
                _OFFER_TTL_S,
                offer_channel(worker),
                Ticket(job_id=attempt.job_id, attempt=attempt.attempt).model_dump_json(),
            ],
        )
        return bool(found)

    def claim(self, ticket: Ticket, worker: str, lease_s: float) -> tuple[ClaimResult, AttemptSpec | None]:
        """Take the attempt that `ticket` names for `worker`; only the first claim of an attempt succeeds.

        The specification comes with "claimed" alone, and is not there any more.
        """
        keys = [lease_key(ticket.job_id), control_key(ticket.job_id), attempt_key(worker, ticket.job_id)]
        answer = cast(list[str], self._claim(keys=keys, args=_holding(ticket.attempt, "", worker, lease_s)))
        result = cast(ClaimResult, answer[0])
        return result, AttemptSpecAdapter.validate_json(answer[1]) if result == "claimed" else None

    def renew(self, job_id: int, attempt: int, worker: str, secret: str, lease_s: float) -> bool:
        """Hold the attempt for another `lease_s` seconds; False when a newer attempt exists.

        Raises UnknownAttemptError, a RedisError, where Redis has yet to be told of the attempt again.
        """
        stands = self._renew(keys=[lease_key(job_id)], args=_holding(attempt, secret, worker, lease_s))
        if stands == "unknown":
            raise UnknownAttemptError(f"Redis does not know attempt {attempt} of job {job_id}")
        return stands == "newest"

    def status(self, job_id: int) -> LeaseStatus:
        """What was granted, who claimed last, and how long it holds."""
        return _status(cast(list[int], self._status(keys=[lease_key(job_id)])))

    def statuses(self, job_ids: Sequence[int]) -> dict[int, LeaseStatus]:
        """The same for several jobs, in one round trip."""
        if len(job_ids) < 2:  # a pipeline asks first whether the script is known
            return {job_id: self.status(job_id) for job_id in job_ids}
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                self._status(keys=[lease_key(job_id)], client=pipe)
            answers = cast(list[list[int]], pipe.execute())
        return {job_id: _status(answer) for job_id, answer in zip(job_ids, answers, strict=True)}


def _status(answer: list[int]) -> LeaseStatus:
    granted, claimed, left_ms, pid = answer
    return LeaseStatus(granted=granted, claimed=claimed, left_s=left_ms / 1000, pid=pid)


def _holding(attempt: int, secret: str, worker: str, lease_s: float) -> list[int | str]:
    """What the scripts take of a worker that holds a lease: it is this process."""
    return [attempt, secret, worker, round(lease_s * 1000), os.getpid()]
