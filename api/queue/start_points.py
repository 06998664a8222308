"""Where trainings start from: a checkpoint of another job, found when it is asked for, kept when it is submitted.

job 3, its best one -> record: which checkpoints exist -> manifest in the store -> Start
submission          -> its weights, verified -> weights/<sha256>.safetensors
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from api.checkpoint_files import WEIGHTS_FILE, read_manifest, weights_key
from api.keeping.arrivals import Arrivals
from api.record.jobs import JobRecord
from api.views import CheckpointView, JobDetailView
from shared.config import TrainConfig
from shared.errors import ConfigError, NotFoundError, StorageError
from shared.jobs import StartPoint, StartRequest, start_weights_key
from shared.storage import Storage, sha256_of

_FIELD = "start"
"""Where a request says it: what every refusal names."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A checkpoint that a training may start from."""

    point: StartPoint
    train: TrainConfig
    """What its weights were trained with."""


class StartPoints:
    """Finds and keeps them. Every refusal names the field `start`."""

    def __init__(self, *, jobs: JobRecord, storage: Storage, arrivals: Arrivals) -> None:
        self._jobs = jobs
        self._arrivals = arrivals
        self._storage = storage

    def find(self, request: StartRequest) -> Start:
        """The checkpoint that `request` names: else the job's best one, else its newest one that can be read.

        Raises NotFoundError where there is no such job or checkpoint, ConfigError where it cannot be used.
        """
        job = self._training(request.job)
        checkpoints = self._jobs.checkpoints(job.id).checkpoints
        if not checkpoints:
            raise ConfigError(
                f"Job {job.id} has not saved anything yet: start from it once it has a checkpoint.", field=_FIELD
            )
        if request.checkpoint:
            return self._named(job, checkpoints, request.checkpoint)
        for checkpoint in sorted(checkpoints, key=lambda one: not one.best):
            try:
                return self._read(job, checkpoint.name)
            except (ConfigError, NotFoundError):
                continue
        raise ConfigError(f"No checkpoint of job {job.id} can be read: start from another job.", field=_FIELD)

    def keep(self, point: StartPoint) -> None:
        """Copy the weights to where nothing that the other job does reaches them, unless they are there."""
        kept = start_weights_key(point.sha256)
        source = weights_key(self._storage, point.job_id, point.checkpoint)
        self._arrivals.expect(kept)
        try:
            if self._storage.exists(kept) and sha256_of(self._storage.file(kept)) == point.sha256:
                return
            weights = self._storage.file(source)
            if sha256_of(weights) != point.sha256:
                raise _damaged(point.job_id, point.checkpoint)
            self._storage.write_file(kept, weights)
        except (NotFoundError, StorageError, FileNotFoundError) as error:
            if self._storage.exists(source):
                raise
            # A job at work replaces its checkpoints at any time.
            raise _gone(point.job_id, point.checkpoint) from error

    def _training(self, job_id: int) -> JobDetailView:
        try:
            job = self._jobs.get(job_id)
        except NotFoundError as error:
            raise NotFoundError(f"There is no job {job_id} to start from.", field=_FIELD) from error
        if job.kind != "train":
            raise ConfigError(f"Job {job_id} preprocesses, so it has no model: start from a training.", field=_FIELD)
        return job

    def _named(self, job: JobDetailView, checkpoints: list[CheckpointView], name: str) -> Start:
        if name not in {checkpoint.name for checkpoint in checkpoints}:
            raise _gone(job.id, name)
        return self._read(job, name)

    def _read(self, job: JobDetailView, name: str) -> Start:
        try:
            manifest = read_manifest(self._storage, job.id, name)
        except NotFoundError as error:
            raise _gone(job.id, name) from error
        except ValidationError as error:
            raise _damaged(job.id, name) from error
        weights = manifest.files.get(WEIGHTS_FILE)
        if weights is None or not self._storage.exists(weights_key(self._storage, job.id, name)):
            raise _damaged(job.id, name)
        point = StartPoint(
            job_id=job.id,
            job_name=job.name,
            checkpoint=name,
            epoch=manifest.epoch,
            step=manifest.step,
            sha256=weights.sha256,
        )
        return Start(point=point, train=manifest.config)


def _gone(job_id: int, name: str) -> NotFoundError:
    return NotFoundError(f"Job {job_id} has no checkpoint {name!r} (any more): choose another one.", field=_FIELD)


def _damaged(job_id: int, name: str) -> ConfigError:
    return ConfigError(f"Checkpoint {name} of job {job_id} is damaged: choose another one.", field=_FIELD)
