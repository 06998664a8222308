"""What the HTTP API answers about what is kept and what goes. Sizes are bytes, times seconds since 1970."""

from __future__ import annotations

from typing import Literal

from api.views import DatasetRef
from shared.config import FeatureConfig, Frozen, ModelConfig, Representation, TrainConfig
from shared.events import Number
from shared.jobs import JobState


class ModelView(Frozen):
    """A checkpoint that stays: the best one of its job, a final one, or a pinned one."""

    job: int
    job_name: str
    dataset: int
    dataset_name: str
    representation: Representation
    checkpoint: str
    epoch: int
    step: int
    best: bool
    final: bool
    pinned: bool
    val_reconstruction: Number = None
    """Squared error of the held-out files."""
    size_bytes: int
    at: float


class ModelListView(Frozen):
    models: list[ModelView]
    """Newest first."""
    next: str
    """Give it as `after` for those that follow; empty after the last one."""


class ModelConfigView(Frozen):
    """What a model is: all that is needed to rebuild it, and how it came about."""

    job: int
    job_name: str
    dataset: DatasetRef
    checkpoint: str
    epoch: int
    step: int
    val_reconstruction: Number = None
    saved_at: float
    versions: dict[str, str]
    model: ModelConfig
    features: FeatureConfig
    train: TrainConfig


class JobLink(Frozen):
    """A job that stands in the way."""

    id: int
    name: str
    state: JobState


class DeletionView(Frozen):
    """What would go with a job or a dataset."""

    name: str
    possible: bool
    reason: str = ""
    """Why it is not possible."""
    blockers: list[JobLink] = []
    """The jobs that it is not possible because of, the first of them."""
    size_bytes: int
    """Disk that becomes free."""


class JobDeletionView(DeletionView):
    """What would go with a job."""

    job: int
    events: int
    checkpoints: int
    pinned: int
    """How many of the checkpoints a person pinned."""
    previews: int


class DatasetDeletionView(DeletionView):
    """What would go with a dataset."""

    dataset: int
    clips: int
    """Clips of all its versions."""
    shared_clips: int
    """How many of them stay, because other datasets have them."""


class DeletedView(Frozen):
    """What went."""

    freed_bytes: int
    left_bytes: int = 0
    """What the artifact store did not remove; `spectrain gc` finds it, what was half removed after a day."""


class DiskPartView(Frozen):
    """One kind of what the artifact store holds."""

    name: str
    """clips, features, jobs or weights."""
    size_bytes: int
    files: int


class DiskView(Frozen):
    """What the artifact store takes, as it was a moment ago."""

    parts: list[DiskPartView]
    size_bytes: int
    free_bytes: int | None
    """Space left; null where the store does not tell."""
    measured_at: float


class JobDiskView(Frozen):
    """What a job takes."""

    checkpoints_bytes: int
    """Pinned ones included."""
    previews_bytes: int
    size_bytes: int


GarbageKind = Literal["clip", "features", "weights", "job", "pinned", "backup", "upload", "scratch"]


class GarbageItem(Frozen):
    """Something that nobody needs."""

    kind: GarbageKind
    key: str
    """Key in the artifact store, or a path beside it."""
    reason: str
    size_bytes: int
    files: int


class GarbageView(Frozen):
    """What nobody needs."""

    items: list[GarbageItem]
    size_bytes: int


class CollectedView(Frozen):
    """What became of it."""

    removed: list[GarbageItem]
    freed_bytes: int
    left: list[GarbageItem]
    """What could not be removed; the api's log says why."""
