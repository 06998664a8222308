"""Step metrics in buckets: of each metric the lowest, the highest and the last value of so many consecutive steps.

A bucket of `width` steps holds the steps k * width + 1 … (k + 1) * width. Nothing that a person must see gets lost: a
spike is the bucket's highest value, and a value that was no finite number makes the bucket's last one NaN, which is
drawn as a gap. Buckets of a width are made of those of a narrower one that divides it.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

METRICS: Final = ("loss", "reconstruction", "kl", "kl_weight", "learning_rate", "grad_norm", "step_time_s")

_HEAD: Final = 3
_COLUMNS: Final = _HEAD + 3 * len(METRICS)
_NAN: Final = math.nan


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive steps with their metrics; NaN stands for a value that was not a finite number."""

    step: Sequence[int]
    epoch: Sequence[int]
    at: float
    metrics: Sequence[Sequence[float]]
    """A column for each of METRICS."""

    @classmethod
    def of(cls, body: Mapping[str, Any], at: float) -> Block:
        """From the dump of a StepMetrics event."""
        columns = [body[name] for name in METRICS]
        metrics = [[_NAN if value is None else value for value in one] if None in one else one for one in columns]
        return cls(step=body["step"], epoch=body["epoch"], at=at, metrics=metrics)

    def between(self, first: int, last: int) -> Block:
        """Its steps from `first` to `last`."""
        begin, end = bisect_right(self.step, first - 1), bisect_right(self.step, last)
        if begin == 0 and end == len(self.step):
            return self
        return Block(
            step=self.step[begin:end],
            epoch=self.epoch[begin:end],
            at=self.at,
            metrics=[column[begin:end] for column in self.metrics],
        )

    def goes_on_with(self, other: Block, *, within: int) -> bool:
        """Whether `other` has the next steps, in the one bucket of width `within` that all of these are in."""
        if not self.step or not other.step or other.step[0] != self.step[-1] + 1:
            return False
        return (self.step[0] - 1) // within == (other.step[-1] - 1) // within

    def joined(self, other: Block) -> Block:
        """These steps and those of `other`, as of when that came."""
        columns = zip(self.metrics, other.metrics, strict=True)
        return Block(
            step=[*self.step, *other.step],
            epoch=[*self.epoch, *other.epoch],
            at=other.at,
            metrics=[[*ours, *theirs] for ours, theirs in columns],
        )


class Buckets:
    """Buckets of `width` steps that are not empty, by rising step, as columns."""

    def __init__(self, width: int, parts: Iterable[bytes] = ()) -> None:
        """`parts` are what `pack` made of buckets of the same width, in order."""
        self.width = width
        self._columns = [array("d") for _ in range(_COLUMNS)]
        for part in parts:
            size = len(part) // _COLUMNS
            for index, column in enumerate(self._columns):
                column.frombytes(part[index * size : (index + 1) * size])

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def step(self) -> array[float]:
        """Last step in each bucket."""
        return self._columns[0]

    @property
    def epoch(self) -> array[float]:
        """Epoch of that step."""
        return self._columns[1]

    @property
    def at(self) -> array[float]:
        """Seconds since 1970 of the event that brought it."""
        return self._columns[2]

    def curve(self, metric: int) -> tuple[array[float], array[float], array[float]]:
        """Lowest and highest finite value (infinite where there is none), and the last one (NaN for a gap)."""
        start = _HEAD + 3 * metric
        return self._columns[start], self._columns[start + 1], self._columns[start + 2]

    def pack(self) -> bytes:
        """As bytes, for `Buckets(width, [bytes])`."""
        return b"".join(column.tobytes() for column in self._columns)

    def add(self, block: Block) -> None:
        """Add steps that follow those that are here."""
        begin, steps = 0, block.step
        while begin < len(steps):
            key = (steps[begin] - 1) // self.width
            end = bisect_right(steps, (key + 1) * self.width, begin)
            row: list[float] = [steps[end - 1], block.epoch[end - 1], block.at]
            for column in block.metrics:
                row += _summed_up(column[begin:end])
            if len(self) and (self.step[-1] - 1) // self.width == key:
                self._merge(row)
            else:
                self._append(row)
            begin = end

    def coarser(self, width: int, *, first: int = 1, last: int | None = None) -> Buckets:
        """Those that have a step in `first` … `last` (or beyond), as buckets of `width` steps, a multiple of theirs."""
        result = Buckets(width)
        steps = self.step
        end_of_all = len(steps) if last is None else bisect_right(steps, -(-last // self.width) * self.width)
        begin = bisect_right(steps, first - 1)
        while begin < end_of_all:
            end = bisect_right(steps, ((steps[begin] - 1) // width + 1) * width, begin, end_of_all)
            row = [column[end - 1] for column in self._columns]
            if end - begin > 1:
                for index in range(_HEAD, _COLUMNS, 3):
                    lows, highs, lasts = (column[begin:end] for column in self._columns[index : index + 3])
                    row[index], row[index + 1] = min(lows), max(highs)
                    if math.isnan(sum(lasts)):
                        row[index + 2] = _NAN
            result._append(row)
            begin = end
        return result

    def _append(self, row: Sequence[float]) -> None:
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def _merge(self, row: Sequence[float]) -> None:
        for column, value in zip(self._columns[:_HEAD], row, strict=False):
            column[-1] = value
        for index in range(_HEAD, _COLUMNS, 3):
            lows, highs, lasts = self._columns[index : index + 3]
            lows[-1], highs[-1] = min(lows[-1], row[index]), max(highs[-1], row[index + 1])
            if not math.isnan(lasts[-1]):
                lasts[-1] = row[index + 2]


def _summed_up(values: Sequence[float]) -> tuple[float, float, float]:
    """Lowest, highest, last."""
    low, high, total = min(values), max(values), sum(values)
    if math.isfinite(total):
        return low, high, values[-1]
    finite = [value for value in values if math.isfinite(value)]
    last = values[-1] if len(finite) == len(values) else _NAN
    return min(finite, default=math.inf), max(finite, default=-math.inf), last
