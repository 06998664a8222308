"""The spool: events that Redis does not take, in order, on this machine's disk.

One file per attempt, `spool/<job>-<attempt>.jsonl` in the data folder. Its first line says whose events they are, with
the secret that lets them be told; each other line is one event with its writer and count, so that whoever sends it
again, another process included, has it applied once. A file that was torn by a crash is good up to its last whole line;
what the disk damaged is passed over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import structlog

from shared.event_bus import Entry
from shared.events import Event, Warned
from shared.jobs import AttemptSpec
from shared.settings import Settings

_SYNC_EVERY_S: Final = 1.0
_BATCH_BYTES: Final = 1 << 20
"""What is sent at once, unless a single event is longer."""
_LOSS_WRITER: Final = "spool:"
_STEPS: Final = '"body":{"type":"steps"'
"""Found in the wire form of step metrics alone: within a text the quotes would be escaped."""

log = structlog.get_logger(__name__)


def spool_folder(data: Path) -> Path:
    """Where the data folder keeps spools."""
    return data / "spool"


class Spool:
    """The spool of one attempt. The file is made with the first event and removed with the last one."""

    def __init__(self, folder: Path, *, job_id: int, attempt: int, secret: str, worker: str, limit_bytes: int) -> None:
        self.worker = worker
        self.job_id = job_id
        self.attempt = attempt
        self.secret = secret
        self.path = folder / f"{job_id}-{attempt}.jsonl"
        self._limit_bytes = limit_bytes
        self._thin_above_bytes = limit_bytes
        self._head = 0
        """Where the first event that was not dropped begins; 0 while there is no file."""
        self._end = 0
        self._synced_at = 0.0
        self._lost_steps = 0
        if self.path.exists():
            self._recover()

    @classmethod
    def of(cls, settings: Settings, attempt: AttemptSpec, *, worker: str) -> Spool:
        """The spool of `attempt`, with what its trainer left in it."""
        return cls(
            spool_folder(settings.data),
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            secret=attempt.secret,
            worker=worker,
            limit_bytes=settings.spool_bytes,
        )

    @classmethod
    def open(cls, path: Path, *, limit_bytes: int) -> Spool | None:
        """The spool that an earlier process left at `path`; None where nothing of it can be told."""
        try:
            with path.open("rb") as file:
                owner = cast(dict[str, Any], json.loads(file.readline()))
            return cls(
                path.parent,
                job_id=int(owner["job_id"]),
                attempt=int(owner["attempt"]),
                secret=str(owner["secret"]),
                worker=str(owner["worker"]),
                limit_bytes=limit_bytes,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __bool__(self) -> bool:
        return self._end > self._head

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep `entries` behind those that are there; raises OSError, and keeps none, where the disk takes no more."""
        if not entries:
            return
        lines = b"".join(map(_to_line, entries))
        try:
            if not self._end:
                self._begin()
            self._write(lines)
        except OSError:
            if not self:
                self.remove()  # nobody would come back to a file without an event
            raise
        if self._end - self._head > self._thin_above_bytes:
            self._shrink()

    def sync(self) -> None:
        """Let what was appended survive a power cut."""
        if self._end:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        self._synced_at = time.monotonic()

    def head(self) -> list[Entry]:
        """The first events, as many as are sent at once, all of one writer; empty for none.

        Where nothing that is left can be read the file goes.
        """
        entries: list[Entry] = []
        size = 0
        if self:
            with self.path.open("rb") as file:
                file.seek(self._head)
                for line, entry in self._lines(file):
                    if entries and entry.writer != entries[0].writer:
                        break
                    entries.append(entry)
                    size += len(line)
                    if size >= _BATCH_BYTES:
                        break
            if not entries:
                log.warning("spool.unreadable", job=self.job_id, attempt=self.attempt, bytes=self._end - self._head)
                self.remove()
        return entries

    def drop(self, count: int) -> None:
        """Forget the first `count` events: Redis has them."""
        with self.path.open("rb") as file:
            file.seek(self._head)
            for _ in islice(self._lines(file), count):
                self._head = file.tell()
        if self._head >= self._end:
            self.remove()

    def remove(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)
        self._head = self._end = 0

    @property
    def _partial(self) -> Path:
        return self.path.with_suffix(".partial")

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        owner = {"job_id": self.job_id, "attempt": self.attempt, "secret": self.secret, "worker": self.worker}
        with open(self.path, "wb", opener=_private) as file:
            file.write(json.dumps(owner).encode() + b"\n")
            head = file.tell()
        self._head = self._end = head  # only now the disk has it

    def _write(self, lines: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(self._end)
            file.truncate()  # what a full disk left of an earlier try
            file.write(lines)
            file.flush()
            if time.monotonic() - self._synced_at >= _SYNC_EVERY_S:
                os.fsync(file.fileno())
                self._synced_at = time.monotonic()
            end = file.tell()
        self._end = end  # only now the disk has it

    def _recover(self) -> None:
        with self.path.open("rb") as file:
            header = file.readline()
            if not header.endswith(b"\n"):
                return  # torn before its first event: it is begun anew
            self._head = self._end = at = len(header)
            damaged = 0
            for line in file:
                at += len(line)
                try:
                    _from_line(line)
                except ValueError:
                    damaged += 1
                    continue
                self._end = at
        if damaged:  # one, at the end, after any crash
            log.warning("spool.damaged", job=self.job_id, attempt=self.attempt, lines=damaged)

    def _lines(self, file: BinaryIO) -> Iterator[tuple[bytes, Entry]]:
        """The whole lines from where `file` stands on, each with what it says; `file` follows line by line."""
        while file.tell() < self._end:
            line = file.readline()
            if not line:
                return  # it became shorter
            try:
                entry = _from_line(line)
            except ValueError:
                continue
            yield line, entry

    def _shrink(self) -> None:
        """Bring it below its limit; where nothing can be dropped, or the disk has no room for the copy that this takes,
        let it grow before the next try: what is told counts for more than the limit."""
        possible = True
        try:
            while possible and self._end - self._head > self._limit_bytes:
                possible = self._thin()
        except (OSError, ValueError) as error:
            possible = False
            log.warning("spool.not_thinned", job=self.job_id, error=str(error))
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
        size = self._end - self._head
        self._thin_above_bytes = self._limit_bytes if possible else size + self._limit_bytes // 8

    def _thin(self) -> bool:
        """Drop every second event of step metrics; False where there was none.

        Whatever else was told stays, and a warning says how many steps were lost.
        """
        lost, lost_before, drop, newest = 0, self._lost_steps, False, None
        with self.path.open("rb") as old, open(self._partial, "wb", opener=_private) as file:
            file.write(old.readline())
            head = file.tell()
            old.seek(self._head)
            for line, entry in self._lines(old):
                if entry.writer.startswith(_LOSS_WRITER):
                    lost_before = max(lost_before, entry.count)
                    continue
                newest = entry
                if _STEPS in entry.text:
                    drop = not drop
                    if drop:
                        lost += len(json.loads(entry.text)["body"]["step"])
                        continue
                file.write(line)
            if newest is not None and lost_before + lost:
                file.write(_to_line(self._loss(newest, lost_before + lost)))
            end = file.tell()
            file.flush()
            os.fsync(file.fileno())
        self._partial.replace(self.path)
        self._head, self._end, self._lost_steps = head, end, lost_before + lost
        log.warning("spool.thinned", job=self.job_id, lost_steps=self._lost_steps)
        return lost > 0

    def _loss(self, newest: Entry, lost_steps: int) -> Entry:
        body = Warned(
            code="disk",
            message=f"The metrics of {lost_steps:,} steps were lost: Redis took none for so long that the"
            f" {self._limit_bytes:,} bytes for them on the worker's disk were used up.",
            advice="Nothing is missing from the training itself; SPECTRAIN_SPOOL_BYTES allows more.",
        )
        event = Event(job_id=self.job_id, attempt=self.attempt, at=Event.from_json(newest.text).at, body=body)
        return Entry(writer=f"{_LOSS_WRITER}{self.attempt}", count=lost_steps, text=event.to_json())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _to_line(entry: Entry) -> bytes:
    return f'{{"writer":{json.dumps(entry.writer)},"count":{entry.count},"event":{entry.text}}}\n'.encode()


def _from_line(line: bytes) -> Entry:
    """Inverse of `_to_line`; raises ValueError for a torn or damaged one."""
    if not line.endswith(b"}\n"):
        raise ValueError("a line without its end")
    prefix, _, rest = line.decode().partition(',"event":')
    text = rest.removesuffix("}\n")
    json.loads(text)  # nobody behind could tell what a damaged one said
    try:
        about = cast(dict[str, Any], json.loads(prefix + "}"))
        return Entry(writer=str(about["writer"]), count=int(about["count"]), text=text)
    except (KeyError, TypeError) as error:
        raise ValueError("a line that does not say whose it is") from error
