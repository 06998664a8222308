"""Celery as its introduction shows it: the other side of the benchmark `dispatch`."""

from __future__ import annotations

import os
import time

from celery import Celery
from redis import Redis

STARTED_KEY = "celery-started"
"""List that gets the time at which each task began, in seconds since 1970."""

app = Celery("stock", broker=os.environ.get("REDIS_URL", "redis://"))


@app.task
def begin() -> None:
    """Tell when it began."""
    now = time.time()
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        redis.rpush(STARTED_KEY, repr(now))
