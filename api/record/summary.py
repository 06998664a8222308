"""What lists show of a job's newest events, folded one event at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ConfigDict

from api.views import ProgressView, WarningView
from shared.config import Frozen
from shared.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EpochMetrics,
    EventBody,
    Number,
    Progress,
    StepMetrics,
    Warned,
)

_RATE_STEPS: Final = 32
"""Newest steps whose times make the rate shown; validation and previews do not count."""


class JobSummary(Frozen):
    """Kept as JSON in the job's row; a field that an older version left there and nobody reads is passed over."""

    model_config = ConfigDict(extra="ignore")

    progress: ProgressView = ProgressView()
    loss: Number = None
    val_reconstruction: Number = None
    quality: Number = None
    overfitting_gap: Number = None
    active_units: int | None = None
    latent_dim: int | None = None
    steps_per_s: Number = None
    eta_s: Number = None
    ended_elapsed_s: float = 0.0
    """Seconds that ended attempts ran."""
    device_memory_bytes: int | None = None
    warnings: list[WarningView] = []
    last_checkpoint: str = ""
    last_checkpoint_step: int | None = None
    last_checkpoint_seconds: float = 0.0
    attempt_started_at: float | None = None
    """When the attempt at hand began; None between attempts."""
    attempt_saved: bool = False
    """Whether the newest attempt saved a checkpoint, which is what counts as progress."""
    versions: dict[str, str] = {}


def fold(summary: JobSummary, body: EventBody, at: float) -> JobSummary:  # noqa: PLR0911 - one return per type of event
    """`summary` after one more event that happened at `at`."""
    match body:
        case AttemptStarted():
            return summary.model_copy(
                update={
                    "versions": body.versions,
                    "eta_s": None,
                    "steps_per_s": None,
                    "attempt_started_at": at,
                    "attempt_saved": False,
                }
            )
        case AttemptEnded():
            total = summary.ended_elapsed_s + body.elapsed_s
            return summary.model_copy(update={"ended_elapsed_s": total, "eta_s": None, "attempt_started_at": None})
        case Progress():
            changes = {"phase": body.phase, "done": body.done, "total": body.total, "message": body.message}
            return _with_progress(summary, changes)
        case StepMetrics():
            return _fold_steps(summary, body)
        case EpochMetrics():
            return _fold_epoch(summary, body)
        case CheckpointSaved():
            return summary.model_copy(
                update={
                    "last_checkpoint": body.name,
                    "last_checkpoint_step": body.step,
                    "last_checkpoint_seconds": body.seconds,
                    "attempt_saved": True,
                }
            )
        case Warned():
            warning = WarningView(code=body.code, message=body.message, advice=body.advice, step=body.step, at=at)
            others = [each for each in summary.warnings if each.code != body.code]
            return summary.model_copy(update={"warnings": [*others, warning]})
        case _:
            return summary


def _with_progress(summary: JobSummary, changes: Mapping[str, object]) -> JobSummary:
    return summary.model_copy(update={"progress": summary.progress.model_copy(update=changes)})


def _fold_steps(summary: JobSummary, body: StepMetrics) -> JobSummary:
    if not body.step:
        return summary
    times = [time for time in body.step_time_s[-_RATE_STEPS:] if time]
    rate = len(times) / sum(times) if times else None
    left = body.total_steps - body.step[-1]
    changed = summary.model_copy(
        update={
            "loss": body.loss[-1],
            "steps_per_s": rate,
            "eta_s": left / rate if rate else None,
        }
    )
    return _with_progress(
        changed,
        {
            "phase": "training",
            "message": "",
            "done": body.step[-1],
            "total": body.total_steps,
            "epoch": body.epoch[-1],
            "step": body.step[-1],
            "total_steps": body.total_steps,
        },
    )


def _fold_epoch(summary: JobSummary, body: EpochMetrics) -> JobSummary:
    changed = summary.model_copy(
        update={
            "val_reconstruction": body.val_reconstruction,
            "quality": body.quality,
            "overfitting_gap": body.overfitting_gap,
            "active_units": body.active_units,
            "latent_dim": body.latent_dim,
            "eta_s": body.eta_s,
            "device_memory_bytes": body.device_memory_bytes,
        }
    )
    return _with_progress(changed, {"epoch": body.epoch, "epochs": body.epochs, "step": body.step})
