"""What a job was asked for with: kept in its row, or made of its specification where an old version did not keep it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.record.dependencies import after_of
from api.record.rows import PRIORITY_NAMES, job_spec
from api.record.tables import Job
from shared.config import TrainConfig
from shared.jobs import JobRequestAdapter, PreprocessRequest, TrainRequest, TrainSpec
from shared.presets import resolve_train_config


def request_of(session: Session, job: Job) -> PreprocessRequest | TrainRequest:
    """The request that leads to a job like this one."""
    after = after_of(session, [job.id]).get(job.id, [])  # what was said names jobs that were deleted since, too
    if job.request:
        request = JobRequestAdapter.validate_python(job.request)
        return request.model_copy(update={"after": tuple(each for each in request.after if each in after)})
    spec = job_spec(session, job)
    values: dict[str, Any] = {
        "kind": job.kind,
        "dataset": str(spec.dataset.dataset_id),
        "name": job.name,
        "device": job.wanted_device,
        "placement": job.placement or {},
        "priority": PRIORITY_NAMES[job.priority or 0],
        "after": after,
    }
    if isinstance(spec, TrainSpec):
        values |= {
            "representation": spec.train.representation,
            "preset": spec.train.preset,
            "changes": changes_of(spec.train, len(spec.dataset.clips)),
        }
        if spec.start is not None:
            values["start"] = {"job": spec.start.job_id, "checkpoint": spec.start.checkpoint}
    else:
        values["features"] = spec.features
    return JobRequestAdapter.validate_python(values)


def changes_of(train: TrainConfig, file_count: int) -> dict[str, Any]:
    """What must be changed of the preset to come to `train`."""
    mine = train.model_dump(mode="json")
    changes: dict[str, Any] = {}
    while True:
        resolved = resolve_train_config(
            file_count=file_count, representation=train.representation, preset=train.preset, changes=changes
        )
        # A change may bring others along, such as short runs their previews: those are said as well.
        more = {name: mine[name] for name, value in resolved.model_dump(mode="json").items() if value != mine[name]}
        if not more:
            return changes
        changes |= more
