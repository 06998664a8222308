"""Follows the log files of the processes: errors are shown where the person looks, the rest stays in the file.

A process appends to its own file, so that it goes on writing when nobody follows. A file that grew too large is
copied aside and emptied; what was written in between those two moments is the only thing that can be lost.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_LARGEST_BYTES: Final = 20 << 20
_AGAIN_BYTES: Final = 1 << 20
"""A file that could not be copied aside is copied once it grew by so much: a full disk lets it grow no more."""
_PLAIN_ERROR: Final = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b|^[\w.]*(?:Error|Exception)\b")
"""What an error looks like in lines that are not JSON: levels of other programs, the last line of a traceback."""
_TEXT_LINE: Final = re.compile(r"\d{4}-\S+Z \[(\w+)\s*\] (.*)")
"""Level and rest of a line of our own processes where their logs are text."""


class LogFollower:
    """Errors that were appended to the file at `path` since it was last looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._limit_bytes = _LARGEST_BYTES

    def errors(self) -> Iterator[str]:
        """One line for each new error. Raises OSError where the disk fails, or is too full for a copy."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._position += len(line)
                error = error_in(line.decode(errors="replace").rstrip())
                if error:
                    yield error
        self._keep_small()

    def _keep_small(self) -> None:
        if self._position <= self._limit_bytes:
            return
        aside = self.path.with_suffix(".log.1")
        try:
            shutil.copyfile(self.path, aside)
        except OSError:
            self._limit_bytes = self._position + _AGAIN_BYTES
            aside.unlink(missing_ok=True)  # a part of a copy, on a disk that may be full
            raise
        with self.path.open("r+b") as file:
            file.truncate(0)
        self._position, self._limit_bytes = 0, _LARGEST_BYTES


def error_in(line: str) -> str:
    """What a person should read of a log line; empty unless it tells of an error."""
    if line.startswith("{"):
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:
            return ""
        if record.get("level") not in ("error", "critical"):
            return ""
        cause = str(record.get("error") or record.get("exception") or "").strip().rpartition("\n")[2]
        return f"{record.get('event', '')}{': ' if cause else ''}{cause}"
    text = _TEXT_LINE.match(line)
    if text is not None:
        level, rest = text.groups()
        return " ".join(rest.split()) if level in ("error", "critical") else ""
    return line if _PLAIN_ERROR.search(line) else ""
