"""Logs of the processes, set up in this one for a while."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from unittest.mock import patch

import structlog

from shared import logs
from shared.logs import Style, configure_logs


@contextmanager
def configured_logs(
    level: str = "info", style: Style = "json", *, stream: StringIO | None = None
) -> Iterator[StringIO]:
    """What is written to standard error meanwhile; afterwards all is as before."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, number = root.handlers[:], root.level
    root.handlers.clear()
    stream = StringIO() if stream is None else stream
    try:
        with patch.object(sys, "stderr", stream):
            configure_logs(level, style)
            yield stream
    finally:
        root.handlers[:], threading.excepthook = handlers, hook
        root.setLevel(number)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logs._carried.clear()
