"""Connections to the Redis protocol server.

Two kinds, never shared: `connect` for commands, which must answer within seconds and are never repeated behind
our back (a repeated write would be applied twice), and `connect_blocking` for subscriptions and blocking reads.
"""

from __future__ import annotations

from typing import Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

KEY_PREFIX: Final = "spectrain:"


def connect(url: str, *, timeout_s: float = 10.0) -> Redis:
    """A client for commands; raises redis.RedisError at use, not here."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=10,
        retry=Retry(NoBackoff(), 0),
    )


def connect_blocking(url: str) -> Redis:
    """A client for blocking reads, whose timeouts must be shorter than its 15 s socket timeout."""
    return connect(url, timeout_s=15.0)
