"""Checkpoints in the artifact store, as far as the api reads them: what the manifest says, where the weights are.

jobs/<id>/checkpoints/<name>/manifest.json       written last: without it a checkpoint does not count
jobs/<id>/checkpoints/<name>/model.safetensors   the model alone
jobs/<id>/pinned/<name>/...                      the same files of a pinned one, which no trainer touches
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.config import TrainConfig
from shared.events import Number
from shared.storage import Storage

WEIGHTS_FILE: Final = "model.safetensors"
MANIFEST_FILE: Final = "manifest.json"
_ATTEMPT: Final = re.compile(r"[0-9]{1,9}")


class CheckpointFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointManifest(BaseModel):
    """The part of a manifest that the api needs; the trainer writes more."""

    model_config = ConfigDict(frozen=True)

    epoch: Annotated[int, Field(ge=0)]
    """Epoch that the step belongs to, counted from 1."""
    step: Annotated[int, Field(ge=0)]
    """Steps done."""
    config: TrainConfig
    """What it was trained with."""
    saved_at: float = 0.0
    """Seconds since 1970."""
    val_reconstruction: Number = None
    versions: dict[str, str] = {}
    files: dict[str, CheckpointFile]
    """By file name."""


def trained_folder(job_id: int, checkpoint: str) -> str:
    """Where its trainer put a checkpoint, and removes it from as newer ones come."""
    return f"jobs/{job_id}/checkpoints/{checkpoint}"


def pinned_folder(job_id: int, checkpoint: str) -> str:
    """Where the api keeps its copy of a pinned one."""
    return f"jobs/{job_id}/pinned/{checkpoint}"


def find_folder(storage: Storage, job_id: int, checkpoint: str) -> str:
    """Where a checkpoint is to be read: the copy of a pinned one, else what its trainer keeps."""
    pinned = pinned_folder(job_id, checkpoint)
    return pinned if storage.exists(f"{pinned}/{MANIFEST_FILE}") else trained_folder(job_id, checkpoint)


def weights_key(storage: Storage, job_id: int, checkpoint: str) -> str:
    """Where the store has the weights of a checkpoint."""
    return f"{find_folder(storage, job_id, checkpoint)}/{WEIGHTS_FILE}"


def newest_stored_attempt(storage: Storage, job_id: int) -> int:
    """Number of the newest attempt that left a checkpoint, whole or not, in the store; 0 for none."""
    attempts = (name.partition("-")[0] for name in storage.names(f"jobs/{job_id}/checkpoints"))
    return max((int(attempt) for attempt in attempts if _ATTEMPT.fullmatch(attempt)), default=0)


def read_manifest(storage: Storage, job_id: int, checkpoint: str) -> CheckpointManifest:
    """The manifest of a checkpoint; raises NotFoundError, or pydantic.ValidationError for one that is damaged."""
    return manifest_in(storage, find_folder(storage, job_id, checkpoint))


def manifest_in(storage: Storage, folder: str) -> CheckpointManifest:
    """The same of the checkpoint in `folder`."""
    return CheckpointManifest.model_validate_json(storage.read(f"{folder}/{MANIFEST_FILE}"))
