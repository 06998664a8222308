"""From the rows of jobs to what the HTTP API answers: as lists show a job, and with its configuration.

A list takes a fixed number of queries, however many jobs it has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.record.dependencies import after_of
from api.record.rows import PRIORITY_NAMES, job_summary, train_config
from api.record.tables import Job
from api.views import DatasetRef, JobDetailView, JobView
from shared.config import FeatureConfig, TrainConfig
from shared.jobs import ACTIVE, JobRequestAdapter, JobState, StartPoint
from shared.presets import preset_values, resolve_train_config


def job_views(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    """Jobs as lists show them."""
    after = after_of(session, [job.id for job in jobs])
    return [JobView.model_validate(_common(job, after.get(job.id, []), train_config(job))) for job in jobs]


def detail_view(session: Session, job: Job) -> JobDetailView:
    """A job with its configuration."""
    train = train_config(job)
    dataset = _dataset(job)
    return JobDetailView.model_validate(
        {
            **_common(job, after_of(session, [job.id]).get(job.id, []), train),
            "train": train,
            "features": train.features() if train else FeatureConfig.model_validate(job.spec["features"]),
            "preset_differences": preset_differences(train, dataset.clips) if train else {},
            "versions": job_summary(job).versions,
            "request": JobRequestAdapter.validate_python(job.request) if job.request else None,
        }
    )


def preset_differences(train: TrainConfig, file_count: int) -> dict[str, object]:
    """Fields of `train` that are not what its preset stands for."""
    preset = resolve_train_config(
        file_count=file_count,
        representation=train.representation,
        preset=train.preset,
        changes={"objective": train.objective}
        | ({"epochs": train.epochs} if "epochs" not in preset_values(train.preset, file_count) else {}),
    )
    mine, theirs = train.model_dump(mode="json"), preset.model_dump(mode="json")
    return {name: value for name, value in mine.items() if value != theirs[name]}


def _dataset(job: Job) -> DatasetRef:
    dataset: dict[str, Any] = job.spec["dataset"]
    count = dataset["clip_count"] if "clip_count" in dataset else len(dataset["clips"])
    return DatasetRef(id=dataset["dataset_id"], name=dataset["name"], version=dataset["version"], clips=count)


def _common(job: Job, after: list[int], train: TrainConfig | None) -> dict[str, object]:
    summary = job_summary(job)
    progress = summary.progress
    if train is not None:
        progress = progress.model_copy(update={"epochs": train.epochs})
    start = job.spec.get("start")
    running_s = time.time() - summary.attempt_started_at if summary.attempt_started_at else 0.0
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": JobState(job.state),
        "reason": job.reason,
        "detail": job.detail,
        "dataset": _dataset(job),
        "representation": train.representation if train else job.spec["features"]["representation"],
        "preset": train.preset if train else None,
        "start": StartPoint.model_validate(start) if start else None,
        "attempt": job.attempt or 0,
        "device": job.device or job.wanted_device,
        "worker": job.worker or "",
        "wanted_device": job.wanted_device,
        "placement": job.placement or {},
        "priority": PRIORITY_NAMES[job.priority or 0],
        "position": job.position,
        "batch": job.batch,
        "after": after,
        "submitted_by": job.submitted_by or "",
        "progress": progress,
        "loss": summary.loss,
        "val_reconstruction": summary.val_reconstruction,
        "quality": summary.quality,
        "overfitting_gap": summary.overfitting_gap,
        "active_units": summary.active_units,
        "latent_dim": summary.latent_dim,
        "steps_per_s": summary.steps_per_s,
        "eta_s": summary.eta_s if JobState(job.state) in ACTIVE else None,
        "elapsed_s": summary.ended_elapsed_s + max(0.0, running_s),
        "device_memory_bytes": summary.device_memory_bytes,
        "warnings": summary.warnings,
        "last_checkpoint": summary.last_checkpoint,
        "last_checkpoint_step": summary.last_checkpoint_step,
        "last_event": job.last_number or 0,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }
