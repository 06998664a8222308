"""The step metrics of one job as a chart wants them: any range of steps in so many buckets.

Enters: the job's recorded events. They are JSON in blocks of a few steps or of thousands, which takes seconds to read
for a million steps. So what they come to is kept in chunks of buckets (`StepChunk`), and only the newest events, and
the few of a range that is shown step by step, are read themselves.

A resumed attempt may repeat steps: from its first step on it replaces what came before, and events of an older attempt
that arrive later count for nothing. `cuts` says so in numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Self

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from api.curves.buckets import Block, Buckets
from api.record.tables import Job, JobEvent, StepChunk, StepCurve

_FINE: Final = 16
_COARSE: Final = 256
CHUNK: Final = 4096
"""Steps of a chunk."""
_AT_ONCE: Final = 16
"""Events that are in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """From event `number` on, `attempt` goes on at `step`."""

    number: int
    attempt: int
    step: int


@dataclass(kw_only=True)
class _Chunk:
    first_number: int
    last_number: int
    fine: Buckets


class StepHistory:
    """What the record knows of a job's step metrics, with the events since then read in memory."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._session = session
        self._job_id = job_id
        kept = session.get(StepCurve, job_id)
        self.number = self._kept_number = kept.number if kept else 0
        """Number of the newest event that is in it."""
        self._cuts = [
            _Cut(number=number, attempt=attempt, step=step) for number, attempt, step in (kept.cuts if kept else ())
        ]
        self._changed: dict[int, _Chunk] = {}
        """Chunks that differ from those in the record; the record's have smaller indices than any of them."""
        self._first_changed: int | None = None
        self.newest = 0
        """The newest step."""
        last = session.scalar(
            select(StepChunk.chunk).where(StepChunk.job_id == job_id).order_by(StepChunk.chunk.desc()).limit(1)
        )
        if last is not None and (chunk := self._chunk(last)):
            self.newest = int(chunk.fine.step[-1])

    def catch_up(self, last: int, *, steps: int | None = None) -> bool:
        """Read the events up to number `last`, or about so many steps of them; True when it got there."""
        done = 0
        with closing(self._events(self.number, last)) as events:
            for first, number, block, attempt in _joined(events):
                self._take(first, number, attempt, block)
                self.number = number
                done += len(block.step)
                if steps is not None and done >= steps:
                    return False
        self.number = max(self.number, last)
        return True

    def buckets(self, first: int, last: int, most: int) -> Buckets:
        """The steps `first` … `last` in at most about `most` buckets, the width of which is a power of two."""
        width = 1
        while (last - 1) // width - (first - 1) // width >= most:
            width *= 2
        if width < _FINE:
            exact = Buckets(width)
            for block in self.blocks(first, last):
                exact.add(block)
            return exact
        level = next(size for size in (CHUNK, _COARSE, _FINE) if size <= width)
        # Whole buckets: one that the range only touches is part of it.
        first, last = (first - 1) // width * width + 1, -(-last // width) * width
        return self._level(level, _chunk_of(first), _chunk_of(last)).coarser(width, first=first, last=last)

    def blocks(self, first: int, last: int) -> Generator[Block]:
        """Every step from `first` to `last` that counts, as recorded, by rising step."""
        numbers = [
            (chunk.first_number, chunk.last_number)
            for index, chunk in self._changed.items()
            if _chunk_of(first) <= index <= _chunk_of(last)
        ]
        numbers += [
            (row.first_number, row.last_number)
            for row in self._session.execute(
                self._kept(_chunk_of(first), _chunk_of(last), StepChunk.first_number, StepChunk.last_number)
            )
        ]
        if not numbers:
            return
        for number, block, attempt in self._events(min(numbers)[0] - 1, max(end for _, end in numbers)):
            kept = self._valid(number, attempt, block.between(first, last))
            if kept.step:
                yield kept

    def rows(self) -> list[dict[str, Any]]:
        """The chunks that `save` is to write. Making them takes too long to be done while other writers wait."""
        return [self._row(index, chunk) for index, chunk in sorted(self._changed.items())]

    def save(self, session: Session, rows: Sequence[dict[str, Any]]) -> None:
        """Keep it in the record, unless the job is gone or somebody else was quicker."""
        kept = session.get(StepCurve, self._job_id)
        if (kept.number if kept else 0) != self._kept_number or session.get(Job, self._job_id) is None:
            return
        cuts = [[cut.number, cut.attempt, cut.step] for cut in self._cuts]
        if kept:
            kept.number, kept.cuts = self.number, cuts
        else:
            session.add(StepCurve(job_id=self._job_id, number=self.number, cuts=cuts))
        if self._first_changed is None:
            return
        session.execute(
            delete(StepChunk).where(StepChunk.job_id == self._job_id, StepChunk.chunk >= self._first_changed)
        )
        if rows:
            session.execute(insert(StepChunk), rows)

    def _row(self, index: int, chunk: _Chunk) -> dict[str, Any]:
        coarse = chunk.fine.coarser(_COARSE)
        return {
            "job_id": self._job_id,
            "chunk": index,
            "first_number": chunk.first_number,
            "last_number": chunk.last_number,
            "whole": coarse.coarser(CHUNK).pack(),
            "coarse": coarse.pack(),
            "fine": chunk.fine.pack(),
        }

    def _take(self, number: int, last_number: int, attempt: int, block: Block) -> None:
        """Take in the steps of the next events, `number` … `last_number`."""
        if not block.step or (self._cuts and attempt < self._cuts[-1].attempt):
            return
        first = block.step[0]
        if not self._cuts or attempt > self._cuts[-1].attempt or first <= self.newest:
            self._cuts.append(_Cut(number=number, attempt=attempt, step=first))
            if first <= self.newest:
                self._forget_from(first, number)
        for index, steps in groupby(block.step, _chunk_of):
            numbers = list(steps)
            chunk = self._changeable(index, number)
            chunk.fine.add(block.between(numbers[0], numbers[-1]))
            chunk.last_number = last_number
        self.newest = block.step[-1]

    def _forget_from(self, step: int, number: int) -> None:
        """Drop the steps from `step` on, all of which came before event `number`."""
        index = _chunk_of(step)
        cut = self._chunk(index)
        self._changed = {other: chunk for other, chunk in self._changed.items() if other < index}
        self._first_changed = index if self._first_changed is None else min(index, self._first_changed)
        self.newest = step - 1
        if cut is None or step - 1 <= index * CHUNK:
            return
        # Buckets cannot be taken apart: those of the chunk are made anew from its events.
        rest = _Chunk(first_number=cut.first_number, last_number=cut.last_number, fine=Buckets(_FINE))
        for other, block, attempt in self._events(cut.first_number - 1, min(cut.last_number, number - 1)):
            rest.fine.add(self._valid(other, attempt, block.between(index * CHUNK + 1, step - 1)))
        if len(rest.fine):
            self._changed[index] = rest

    def _valid(self, number: int, attempt: int, block: Block) -> Block:
        """Those steps of an event that no later attempt replaced."""
        end = 2**62
        for cut in self._cuts:
            if cut.number > number:
                end = min(end, cut.step - 1)
            elif cut.attempt > attempt:
                end = 0
        return block.between(1, end)

    def _changeable(self, index: int, number: int) -> _Chunk:
        if index not in self._changed:
            kept = self._chunk(index)
            self._changed[index] = kept or _Chunk(first_number=number, last_number=number, fine=Buckets(_FINE))
            self._first_changed = index if self._first_changed is None else min(index, self._first_changed)
        return self._changed[index]

    def _chunk(self, index: int) -> _Chunk | None:
        if index in self._changed:
            return self._changed[index]
        row = self._session.execute(
            self._kept(index, index, StepChunk.first_number, StepChunk.last_number, StepChunk.fine)
        ).first()
        if row is None:
            return None
        return _Chunk(first_number=row.first_number, last_number=row.last_number, fine=Buckets(_FINE, [row.fine]))

    def _level(self, width: int, first: int, last: int) -> Buckets:
        """The buckets of `width` of the chunks `first` … `last`."""
        column = {_FINE: StepChunk.fine, _COARSE: StepChunk.coarse, CHUNK: StepChunk.whole}[width]
        parts = list(self._session.scalars(self._kept(first, last, column)))
        parts += [
            chunk.fine.pack() if width == _FINE else chunk.fine.coarser(width).pack()
            for index, chunk in sorted(self._changed.items())
            if first <= index <= last
        ]
        return Buckets(width, parts)

    def _kept(self, first: int, last: int, *columns: Any) -> Any:
        """Columns of the chunks in the record that still hold, by rising chunk."""
        if self._first_changed is not None:
            last = min(last, self._first_changed - 1)
        return (
            select(*columns)
            .where(StepChunk.job_id == self._job_id, StepChunk.chunk >= first, StepChunk.chunk <= last)
            .order_by(StepChunk.chunk)
        )

    def _events(self, after: int, last: int) -> Generator[tuple[int, Block, int]]:
        """Events with steps, above number `after` up to `last`: number, steps, attempt."""
        query = (
            select(JobEvent.number, JobEvent.attempt, JobEvent.at, JobEvent.body)
            .where(
                JobEvent.job_id == self._job_id,
                JobEvent.number > after,
                JobEvent.number <= last,
                JobEvent.type == "steps",
            )
            .order_by(JobEvent.number)
            .execution_options(yield_per=_AT_ONCE)
        )
        with self._session.execute(query) as rows:
            for number, attempt, at, body in rows:
                yield number, Block.of(body, at), attempt

    @classmethod
    def of(cls, session: Session, job: Job) -> Self:
        """All that is recorded of a job."""
        history = cls(session, job.id)
        history.catch_up(job.last_number or 0)
        return history


def _joined(events: Iterable[tuple[int, Block, int]]) -> Generator[tuple[int, int, Block, int]]:
    """The same events, those that follow each other within a bucket as one, with the first number and the last.

    A slow training tells of a few steps at a time; taking in each event by itself would cost as much as a large one.
    """
    first = last = attempt = 0
    held: Block | None = None
    for number, block, of_attempt in events:
        if held is not None and attempt == of_attempt and held.goes_on_with(block, within=_FINE):
            held, last = held.joined(block), number
            continue
        if held is not None:
            yield first, last, held, attempt
        first, last, held, attempt = number, number, block, of_attempt
    if held is not None:
        yield first, last, held, attempt


def _chunk_of(step: int) -> int:
    return (step - 1) // CHUNK
