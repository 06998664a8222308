"""What the record points to: clips, weights, features, jobs. Everything else in the store is needed by nobody."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.record.tables import DatasetClip, DatasetVersion, Job
from shared.config import FeatureConfig, TrainConfig

_ROWS: Final = 1_000
"""Rows that are in memory at a time."""


def needed_clips(session: Session, *, without_dataset: int | None = None) -> set[str]:
    """Hashes of the clips that any dataset has, in its present or in a kept version, but for one dataset."""
    now = select(DatasetClip.sha256)
    kept = select(DatasetVersion.clips).where(DatasetVersion.clips.is_not(None))
    old = select(Job.spec["dataset"]["clips"]).where(Job.spec["dataset"]["clip_count"].as_integer().is_(None))
    if without_dataset is not None:
        now = now.where(DatasetClip.dataset_id != without_dataset)
        kept = kept.where(DatasetVersion.dataset_id != without_dataset)
        old = old.where(Job.dataset_id != without_dataset)
    needed = set(session.scalars(now))
    for query in (kept, old):
        for clips in session.scalars(query.execution_options(yield_per=_ROWS)):
            needed.update(clip["sha256"] for clip in clips or [])
    return needed


def has_clip(session: Session, sha256: str) -> bool:
    """Whether any dataset has the clip now; quick, for the moment before it is removed."""
    return session.scalar(select(DatasetClip.id).where(DatasetClip.sha256 == sha256).limit(1)) is not None


def needed_weights(session: Session) -> set[str]:
    """Hashes of the weights that trainings start from."""
    sha256 = Job.spec["start"]["sha256"].as_string()
    return {each for each in session.scalars(select(sha256).where(sha256.is_not(None))) if each}


def needed_features(session: Session) -> set[str]:
    """Keys of the features that any job reads or makes, also one that ended: it may be resumed."""
    keys = set[str]()
    known: dict[str, FeatureConfig] = {}
    rows = session.execute(select(Job.kind, Job.spec).execution_options(yield_per=_ROWS))
    for kind, spec in rows:
        part: dict[str, Any] = spec["train"] if kind == "train" else spec["features"]
        said = json.dumps([kind, {name: value for name, value in part.items() if name in FeatureConfig.model_fields}])
        if said not in known:
            known[said] = (
                TrainConfig.model_validate(part).features() if kind == "train" else FeatureConfig.model_validate(part)
            )
        keys.add(known[said].cache_key(spec["dataset"]["version_hash"]))
    return keys
