"""What people want of a running attempt: the control flags.

One hash per job, `spectrain:job:<id>:control`. `attempt` says whom the flags mean, so that a resumed job does not
meet the wish that stopped it. `wish` is none, cancel, pause or hand_back (save and queue again); `save` and `preview`
count requests. The record holds the wish for good; this is how it reaches the trainer, which reads a mirror in its
memory at every step boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from redis import Redis

from shared.redis_client import KEY_PREFIX

Wish = Literal["none", "cancel", "pause", "hand_back"]

_SET: Final = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'attempt', ARGV[1])
if ARGV[2] == 'wish' then redis.call('HSET', KEYS[1], 'wish', ARGV[3])
else redis.call('HINCRBY', KEYS[1], ARGV[2], 1) end
return 1
"""


def control_key(job_id: int) -> str:
    """The hash that holds the control flags of a job."""
    return f"{KEY_PREFIX}job:{job_id}:control"


@dataclass(frozen=True, kw_only=True)
class ControlFlags:
    """The flags of one attempt as they stand in Redis."""

    wish: Wish = "none"
    saves: int = 0
    """How often "save now" was asked for."""
    previews: int = 0
    """How often "preview now" was asked for."""


class Controls:
    """The control flags of all jobs. Every method raises redis.RedisError while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._set = redis.register_script(_SET)

    def wish(self, job_id: int, attempt: int, wish: Wish) -> None:
        """Set what is wanted of `attempt`; setting it again changes nothing."""
        self._set(keys=[control_key(job_id)], args=[attempt, "wish", wish])

    def ask(self, job_id: int, attempt: int, what: Literal["save", "preview"]) -> None:
        """Ask `attempt` for a checkpoint or a preview at its next step boundary."""
        self._set(keys=[control_key(job_id)], args=[attempt, what, ""])

    def read(self, job_id: int, attempt: int) -> ControlFlags:
        """The flags meant for `attempt`; all unset where Redis holds those of another."""
        flags = cast(dict[str, str], self._redis.hgetall(control_key(job_id)))
        if flags.get("attempt") != str(attempt):
            return ControlFlags()
        return ControlFlags(
            wish=cast(Wish, flags.get("wish", "none")),
            saves=int(flags.get("save", 0)),
            previews=int(flags.get("preview", 0)),
        )
