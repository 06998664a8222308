"""Keeps what the step metrics of all jobs come to up to date, and answers with it.

A job whose record is far ahead of its chunks, by many events or by a few large ones, is caught up in the background; an
answer reads the rest itself. A job that nobody kept up (of an older version) is caught up when it is first asked for.
"""

from __future__ import annotations

import csv
import io
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session
from typing_extensions import override

from api.background import Background, progressed
from api.curves.buckets import METRICS, Buckets
from api.curves.history import StepHistory
from api.curves.views import CurveView, HistoryView
from api.record.database import Database
from api.record.rows import find
from api.record.tables import RARE, Job, JobEvent, StepCurve

_EVERY_S: Final = 5.0
_BEHIND: Final = 256
_BEHIND_BYTES: Final = 2 << 20
"""Fewer events than that, of fewer bytes of JSON, are what an answer reads by itself in a tenth of a second."""
_FEW: Final = 4
"""So few events are never too many bytes."""
_STEPS_AT_ONCE: Final = 1 << 18
"""Steps that are taken in by one transaction."""
_CSV_STEPS: Final = 1 << 14
"""Steps of a table that are read at a time."""
_EPOCH_COLUMNS: Final = (
    "epoch", "step", "train_loss", "val_loss", "train_reconstruction", "val_reconstruction", "val_kl", "kl_divergence",
    "active_units", "latent_dim", "overfitting_gap", "quality", "best", "elapsed_s",
)  # fmt: skip


class CurveKeeper(Background):
    """The curves of all jobs."""

    def __init__(self, database: Database) -> None:
        super().__init__("curves", every_s=_EVERY_S)
        self._database = database
        self._dirty: set[int] = set()
        self._dirty_lock = threading.Lock()
        self._one_at_a_time = threading.Lock()

    def came(self, job_id: int) -> None:
        """Events of a job were recorded."""
        with self._dirty_lock:
            self._dirty.add(job_id)

    @override
    def work(self) -> None:
        """Catch up what is behind. A job that cannot be kept keeps no other from it."""
        with self._dirty_lock:
            dirty, self._dirty = self._dirty, set()
        troubles: list[Exception] = []
        for job_id in sorted(dirty):
            try:
                with self._database.reading() as session:
                    is_behind = _is_behind(session, job_id)
                if is_behind:
                    self.keep(job_id)
            except Exception as error:
                troubles.append(error)
                self.came(job_id)
        if troubles:
            raise troubles[0]

    def keep(self, job_id: int) -> None:
        """Have all that is recorded of a job in its chunks."""
        is_done = False
        with self._one_at_a_time:
            while not is_done:
                with self._database.reading() as session:
                    job = session.get(Job, job_id)
                    if job is None:
                        return
                    history = StepHistory(session, job_id)
                    is_done = history.catch_up(job.last_number or 0, steps=_STEPS_AT_ONCE)
                rows = history.rows()
                with self._database.session() as session:
                    if session.get(Job, job_id) is None:
                        return  # it was deleted meanwhile
                    history.save(session, rows)
                progressed()

    def history(self, job_id: int, *, first: int, last: int | None, buckets: int, epochs: bool) -> HistoryView:
        """The steps `first` … `last` of a job in buckets; raises NotFoundError."""
        self._keep_up(job_id)
        with self._database.reading() as session:
            job = find(session, job_id)
            history = StepHistory.of(session, job)
            end = min(history.newest, last or history.newest)
            curves = history.buckets(first, end, buckets) if first <= end else Buckets(1)
            return HistoryView.model_validate(
                {
                    "stride": curves.width,
                    "step": [int(step) for step in curves.step],
                    "epoch": [int(epoch) for epoch in curves.epoch],
                    "at": curves.at.tolist(),
                    **{name: _curve(curves, index) for index, name in enumerate(METRICS)},
                    "epochs": _epochs(session, job_id) if epochs else [],
                    "newest_step": history.newest,
                    "last": history.number,
                }
            )

    def steps_table(self, job_id: int) -> Iterator[bytes]:
        """Every step of a job that counts as lines of CSV, a few thousand at a time."""
        self._keep_up(job_id)
        with self._database.reading() as session:
            newest = StepHistory.of(session, find(session, job_id)).newest
        return self._lines(job_id, newest)

    def epochs_table(self, job_id: int) -> bytes:
        """Every epoch of a job that counts as CSV."""
        with self._database.reading() as session:
            epochs = _epochs(session, find(session, job_id).id)
        return _csv([_EPOCH_COLUMNS, *([epoch.get(name) for name in _EPOCH_COLUMNS] for epoch in epochs)])

    def _lines(self, job_id: int, newest: int) -> Iterator[bytes]:
        yield _csv([("step", "epoch", "at", *METRICS)])
        for first in range(1, newest + 1, _CSV_STEPS):
            # A session for each part: who takes hours to read it must not hold one open.
            with self._database.reading() as session:
                history = StepHistory.of(session, find(session, job_id))
                blocks = list(history.blocks(first, min(newest, first + _CSV_STEPS - 1)))
            for block in blocks:
                columns = [["" if math.isnan(value) else value for value in column] for column in block.metrics]
                at = [block.at] * len(block.step)
                yield _csv(list(zip(block.step, block.epoch, at, *columns, strict=True)))

    def _keep_up(self, job_id: int) -> None:
        with self._database.reading() as session:
            find(session, job_id)
            is_behind = _is_behind(session, job_id)
        if is_behind:
            self.keep(job_id)


def _is_behind(session: Session, job_id: int) -> bool:
    """Whether an answer would have to read too much by itself."""
    kept = session.scalar(select(StepCurve.number).where(StepCurve.job_id == job_id)) or 0
    ahead = (session.scalar(select(Job.last_number).where(Job.id == job_id)) or 0) - kept
    if ahead < _FEW or ahead >= _BEHIND:
        return ahead >= _BEHIND
    size = func.sum(func.length(cast(JobEvent.body, Text)))
    rest = select(size).where(JobEvent.job_id == job_id, JobEvent.number > kept)
    return (session.scalar(rest) or 0) >= _BEHIND_BYTES


def _curve(curves: Buckets, metric: int) -> CurveView:
    low, high, last = curves.curve(metric)
    is_exact = curves.width == 1
    return CurveView(last=_numbers(last), min=[] if is_exact else _numbers(low), max=[] if is_exact else _numbers(high))


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _epochs(session: Session, job_id: int) -> list[dict[str, Any]]:
    """By rising number: one that an attempt repeats replaces the old one and what came after it."""
    events = session.execute(
        select(JobEvent.attempt, JobEvent.body)
        .where(JobEvent.job_id == job_id, RARE, JobEvent.type == "epoch")
        .order_by(JobEvent.number)
    )
    bodies: list[dict[str, Any]] = []
    newest = 0
    for attempt, body in events:
        if attempt < newest:
            continue  # it did not know that it was over
        newest = attempt
        while bodies and bodies[-1]["epoch"] >= body["epoch"]:
            bodies.pop()
        bodies.append(body)
    return [body | {"kl_per_dimension": []} for body in bodies[:-1]] + bodies[-1:]


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
