"""Who runs a job, until when.

One hash per job, `spectrain:job:<id>:lease`: `attempt` is the newest attempt that the scheduler granted (the
fence), `claimed` the attempt that a worker took, `worker` and `until` (milliseconds of Redis' own clock) say who and
how long. All changes are Lua scripts, so that looking and writing are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from redis import Redis

from shared.control import control_key
from shared.redis_client import KEY_PREFIX

ClaimResult = Literal["claimed", "stale", "taken", "unwanted"]
"""`stale`: a newer attempt exists. `taken`: this one runs already. `unwanted`: a person wants it stopped."""

_GRANT: Final = """
local granted = tonumber(redis.call('HGET', KEYS[1], 'attempt') or '0')
if tonumber(ARGV[1]) > granted then
  redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'worker', ARGV[2], 'until', '0')
end
return math.max(granted, tonumber(ARGV[1]))
"""

_CLAIM: Final = """
local attempt = tonumber(ARGV[1])
if attempt < tonumber(redis.call('HGET', KEYS[1], 'attempt') or '0') then return 'stale' end
if attempt <= tonumber(redis.call('HGET', KEYS[1], 'claimed') or '0') then return 'taken' end
if redis.call('HGET', KEYS[2], 'attempt') == ARGV[1] then
  local wish = redis.call('HGET', KEYS[2], 'wish')
  if wish and wish ~= 'none' then return 'unwanted' end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'claimed', ARGV[1], 'worker', ARGV[2], 'until', now + ARGV[3])
return 'claimed'
"""

_RENEW: Final = """
if tonumber(ARGV[1]) < tonumber(redis.call('HGET', KEYS[1], 'attempt') or '0') then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'claimed', ARGV[1], 'worker', ARGV[2], 'until', now + ARGV[3])
return 1
"""

_LEFT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claimed = redis.call('HGET', KEYS[1], 'claimed') or '0'
return {tonumber(claimed), tonumber(redis.call('HGET', KEYS[1], 'until') or '0') - now}
"""


def lease_key(job_id: int) -> str:
    """The hash that holds the lease of a job."""
    return f"{KEY_PREFIX}job:{job_id}:lease"


@dataclass(frozen=True, kw_only=True)
class LeaseStatus:
    """What Redis knows of a job's lease."""

    claimed: int
    """Newest attempt that a worker took; 0 for none."""
    left_s: float
    """Seconds until it lapses; negative when it has."""


class Leases:
    """The leases of all jobs. Every method raises redis.RedisError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._grant = redis.register_script(_GRANT)
        self._claim = redis.register_script(_CLAIM)
        self._renew = redis.register_script(_RENEW)
        self._left = redis.register_script(_LEFT)

    def grant(self, job_id: int, attempt: int, worker: str) -> int:
        """Make `attempt` the newest one, fencing all before it; returns the newest, which may be higher."""
        return int(cast(int, self._grant(keys=[lease_key(job_id)], args=[attempt, worker])))

    def claim(self, job_id: int, attempt: int, worker: str, lease_s: float) -> ClaimResult:
        """Take the attempt for `worker`; only the first claim of an attempt succeeds."""
        result = self._claim(
            keys=[lease_key(job_id), control_key(job_id)], args=[attempt, worker, round(lease_s * 1000)]
        )
        return cast(ClaimResult, result)

    def renew(self, job_id: int, attempt: int, worker: str, lease_s: float) -> bool:
        """Hold the attempt for another `lease_s` seconds; False when a newer attempt exists."""
        return bool(self._renew(keys=[lease_key(job_id)], args=[attempt, worker, round(lease_s * 1000)]))

    def status(self, job_id: int) -> LeaseStatus:
        """Who claimed last, and how long it holds."""
        claimed, left_ms = cast(list[int], self._left(keys=[lease_key(job_id)]))
        return LeaseStatus(claimed=claimed, left_s=left_ms / 1000)
