"""Celery's own lines about its connection to Redis: `presence` says once, in our words, that Redis is away and back."""

from __future__ import annotations

import logging
from typing import Final

import structlog
from celery.worker.consumer.consumer import CONNECTION_ERROR, CONNECTION_RETRY

CONSUMER: Final = "celery.worker.consumer.consumer"

log = structlog.get_logger(__name__)


def hush_connection_lines() -> None:
    """Have what Celery says of every try to connect again be for debugging alone."""
    logging.getLogger(CONSUMER).addFilter(is_other)


def is_other(record: logging.LogRecord) -> bool:
    """Whether a line of Celery's is about anything but its connection; one that is not comes out as ours."""
    is_retry = isinstance(record.args, tuple) and CONNECTION_RETRY in record.args
    if record.msg != CONNECTION_ERROR and not is_retry:
        return True
    log.debug("broker.trouble", said=" ".join(record.getMessage().split()))
    return False
