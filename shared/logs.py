"""Log lines of all processes, on standard error: JSON records or text for a terminal, with an action name as the event.

Every line carries what its process and its thread are at: worker, device, job and attempt by `carry`, and in the api
request and part by structlog's context variables. Lines of other packages come out the same way. One record is one
line, on a terminal followed by the marked lines of its traceback, so that nobody can forge a line with a hostile name;
what looks like a secret is struck out. A line that a full disk does not take is dropped: no thread may end for the sake
of what it wanted to say.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.types import Processor

Style = Literal["json", "console"]

_SECRETS: Final = re.compile(r"(?<=://)[^\s/@\"']*:[^\s/@\"']+(?=@)|\bsp[ts]_[\w-]+|(?<=[Bb]earer )[\w.~+/=-]+")
"""User and password in an address, tokens of ours, and whatever else proves who somebody is."""
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n", 13: "\\r", 9: "\\t"}
_PART: Final = "  | "
"""Before each line of a traceback: what an exception says may hold line breaks and look like a record."""

_carried: dict[str, object] = {}

log = structlog.get_logger(__name__)


def carry(**fields: object) -> None:
    """Have every further line of this process say so, whichever thread writes it; None takes a field away."""
    for name, value in fields.items():
        if value is None:
            _carried.pop(name, None)
        else:
            _carried[name] = value


def configure_logs(level: str, style: Style = "json") -> None:
    """Set up the logs of this process; `level` is debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    stream = cast(TextIO, _Forgiving(sys.stderr))
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_carried,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*before, *_rendering(style)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(style)],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_crashed


def without_secrets(text: str) -> str:
    """`text` with what looks like a secret struck out."""
    return _SECRETS.sub("***", text)


def _rendering(style: Style) -> list[Processor]:
    if style == "json":
        return [_without_secrets(structlog.processors.JSONRenderer())]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    return [_on_one_line, _without_secrets(plain)]


def _without_secrets(renderer: Processor) -> Processor:
    def render(logger: Any, name: str, fields: MutableMapping[str, Any]) -> str:
        return without_secrets(str(renderer(logger, name, fields)))

    return render


def _add_carried(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {**_carried, **fields}


def _on_one_line(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """JSON escapes what ends a line by itself; a traceback stays readable, each of its lines marked as part of it."""
    plain = {
        name: value.translate(_CONTROL) if isinstance(value, str) and name != "exception" else value
        for name, value in fields.items()
    }
    if isinstance(traceback := fields.get("exception"), str):
        plain["exception"] = "\n".join(_PART + line.translate(_CONTROL) for line in traceback.split("\n"))
    return plain


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_type is not SystemExit:
        name = crash.thread.name if crash.thread is not None else ""
        log.critical("thread.crashed", thread=name, exc_info=crash.exc_value)


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
