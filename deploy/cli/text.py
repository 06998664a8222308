"""Numbers, times and facts as a person reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from api.views import JobView
from shared.events import (
    AttemptStarted,
    CheckpointSaved,
    EpochMetrics,
    Event,
    LogLine,
    Number,
    PreviewMade,
    StateChanged,
    Warned,
)
from shared.jobs import StartPoint
from shared.placement import Placement


def duration(seconds: float | None) -> str:
    """3725.0 -> "1 h 02 min"; empty where unknown."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int | None) -> str:
    """1500000 -> "1.5 MB"; empty where unknown."""
    if count is None:
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def number(value: Number) -> str:
    """Four significant digits; a dash where unknown."""
    return "–" if value is None else f"{value:.4g}"


def moment(at: float | None) -> str:
    """Local date and time; empty where unknown."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def progress(job: JobView) -> str:
    """How far a job is: "epoch 3/100, step 1,200/40,000" or "features 12/40"."""
    state = job.progress
    if state.epochs:
        return f"epoch {state.epoch}/{state.epochs}, step {state.step:,}/{state.total_steps:,}"
    return f"{state.phase} {state.done}/{state.total}" if state.total else state.phase


def count(amount: int, word: str) -> str:
    """1, "file" -> "1 file"; 2, "file" -> "2 files"."""
    return f"{amount:,} {word}{'' if amount == 1 else 's'}"


def started_from(start: StartPoint) -> str:
    """The checkpoint that a training started from: "job 3 (kit mel), checkpoint 1-250, epoch 12, step 250"."""
    where = f"checkpoint {start.checkpoint}, epoch {start.epoch}, step {start.step:,}"
    return f"job {start.job_id} ({start.job_name}), {where}"


def placement(asked: Placement) -> str:
    """Where and when a job may run, as far as something was asked for: "studio, 23:00-07:00, at most 2 h 00 min"."""
    parts = [*asked.labels, asked.worker]
    if asked.hours:
        parts.append(f"{asked.hours.start}-{asked.hours.end}")
    if asked.only_when_idle:
        parts.append("only when idle")
    if asked.min_free_memory_bytes:
        parts.append(f"{size(asked.min_free_memory_bytes)} free")
    if asked.time_limit_s:
        parts.append(f"at most {duration(asked.time_limit_s)}")
    return ", ".join(part for part in parts if part)


def numbers(ids: Sequence[int]) -> str:
    """5, 6, 7, 9 -> "5-7, 9"."""
    runs: list[list[int]] = []
    for each in ids:
        if runs and each == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], each]
        else:
            runs.append([each])
    return ", ".join("-".join(str(end) for end in run) for run in runs)


def event_lines(event: Event) -> Iterator[str]:
    """What a person following a job reads of an event."""
    body = event.body
    match body:
        case StateChanged():
            where = f" on {body.device}" if body.device else ""
            yield f"{body.state.value}{where}{': ' if body.reason else ''}{body.reason}"
            if body.detail:
                yield body.detail.rstrip()
        case AttemptStarted():
            again = f", try {event.attempt}" if event.attempt > 1 else ""
            yield f"began on {body.device} of {body.worker}{again}"
        case EpochMetrics():
            yield _epoch_line(body)
        case PreviewMade():
            yield f"preview {body.name}: epoch {body.epoch}, step {body.step:,}"
        case CheckpointSaved():
            best = ", best so far" if body.best and body.reason != "best" else ""
            yield f"saved step {body.step:,}, {body.seconds:.1f} s ({body.reason}{best}, {size(body.size_bytes)})"
        case Warned():
            yield f"warning: {body.message} {body.advice}".rstrip()
        case LogLine():
            yield body.message
        case _:
            pass


def _epoch_line(body: EpochMetrics) -> str:
    parts = [f"epoch {body.epoch}/{body.epochs}", f"step {body.step:,}", f"loss {number(body.train_loss)}"]
    if body.val_reconstruction is not None:
        parts.append(f"validation error {number(body.val_reconstruction)}{' (best)' if body.best else ''}")
    if body.overfitting_gap is not None:
        parts.append(f"overfitting gap {body.overfitting_gap:+.0%}")
    if body.eta_s is not None:
        parts.append(f"{duration(body.eta_s)} to go")
    return ", ".join(parts)
