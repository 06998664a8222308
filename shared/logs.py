"""Log lines of all processes: JSON records on standard error, with an action name as the event.

JSON escapes line breaks, so that nobody can forge a line with a hostile name. A line that a full disk
does not take is dropped: no thread may end for the sake of what it wanted to say.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure_logs(level: str) -> None:
    """Set up structlog for this process; `level` is debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Forgiving(sys.stderr))),
    )
    # The standard library's handlers forgive by themselves.
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)


class _Forgiving:
    """What a logger writes to; whatever the stream behind it does not take is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()
