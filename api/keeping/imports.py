"""Models from outside: a file that somebody else made becomes a checkpoint that trainings can start from.

    bytes -> temporary file -> check_model_file -> a completed job of its own, with one checkpoint, in Models

The job has no sounds: it belongs to an empty dataset, has no state to resume from, and can be deleted like any other.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError
from sqlalchemy import select

from api.checkpoint_files import MANIFEST_FILE, WEIGHTS_FILE, CheckpointFile, CheckpointManifest, trained_folder
from api.datasets.quotas import Quotas
from api.datasets.receive import display_name
from api.record.attempts import record_events
from api.record.database import Database
from api.record.jobs import NewJob, add_job
from api.record.queue_settings import end_of_queue, note_deleted
from api.record.rows import find, tell
from api.record.tables import Dataset
from shared.config import BETA_KL_WEIGHT, Objective, TrainConfig, config_error
from shared.errors import ConfigError, StorageFullError
from shared.events import CheckpointSaved, Event
from shared.jobs import DatasetSnapshot, JobState, TrainRequest, TrainSpec
from shared.lineage import weights_incompatibility
from shared.model_file import ModelDescription, check_model_file
from shared.storage import Storage

DATASET: Final = "imported models"
"""Name of the dataset that has no sounds, made for the first of them."""
CHECKPOINT: Final = "1-0"
_SPARE_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 20


class Imports:
    """Takes models in. `folder` holds the file that is being received."""

    def __init__(self, *, database: Database, storage: Storage, folder: Path, quotas: Quotas) -> None:
        self._database = database
        self._storage = storage
        self._folder = folder
        self._quotas = quotas

    def receive(self, name: str, stream: IO[bytes], size: int | None, *, by: str = "") -> int:
        """The number of the job that the model in `stream` becomes; `size` is what the request of `by` announces.

        Raises ConfigError for a file that does not hold a model of ours, StorageFullError.
        """
        free = self._storage.free_bytes()
        if free is not None and 2 * (size or 0) + _SPARE_BYTES > free:
            raise StorageFullError("The disk has too little space for this model: free some and send it again.")
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="upload-", buffering=0) as file:
            digest = hashlib.sha256()
            while chunk := stream.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
            path = Path(file.name)
            train = train_config(check_model_file(path))
            with self._quotas.model(path.stat().st_size):
                return self._keep(display_name(name), path, digest.hexdigest(), train, by)

    def _keep(self, name: str, path: Path, sha256: str, train: TrainConfig, by: str) -> int:
        job_id = self._add(name, train, by)
        try:
            folder, size_bytes = trained_folder(job_id, CHECKPOINT), path.stat().st_size
            manifest = CheckpointManifest(
                epoch=0, step=0, config=train, saved_at=time.time(), files={WEIGHTS_FILE: CheckpointFile(sha256=sha256)}
            )
            self._storage.write_file(f"{folder}/{WEIGHTS_FILE}", path)
            self._storage.write(f"{folder}/{MANIFEST_FILE}", manifest.model_dump_json(indent=1).encode())
            saved = CheckpointSaved(
                name=CHECKPOINT,
                epoch=0,
                step=0,
                reason="imported",
                best=True,
                size_bytes=size_bytes,
                seconds=0.0,
                kept=[CHECKPOINT],
            )
            with self._database.session() as session:
                event = Event(job_id=job_id, number=1, attempt=0, at=time.time(), body=saved)
                record_events(session, {job_id: [event]})
                tell(session, find(session, job_id), time.time())
        except BaseException:
            with self._database.session() as session:
                session.delete(find(session, job_id))
                note_deleted(session, "job", job_id)
            self._storage.delete(f"jobs/{job_id}")
            raise
        return job_id

    def _add(self, name: str, train: TrainConfig, by: str) -> int:
        with self._database.session() as session:
            dataset = session.scalar(select(Dataset).where(Dataset.name == DATASET))
            if dataset is None:
                dataset = Dataset(name=DATASET, created_at=time.time())
                session.add(dataset)
                session.flush()
            nothing = hashlib.sha256().hexdigest()
            snapshot = DatasetSnapshot(dataset_id=dataset.id, name=DATASET, version=0, version_hash=nothing, clips=())
            request = TrainRequest(dataset=DATASET, representation=train.representation, held=True)
            spec = TrainSpec(dataset=snapshot, train=train)
            job = NewJob(name=name[-200:], spec=spec, request=request, submitted_by=by)
            row = add_job(session, job, end_of_queue(session))
            # It never waited, so nobody is told that it does: the checkpoint is its first event.
            row.state, row.ended_at = JobState.COMPLETED.value, time.time()
            row.reason = "It was imported: start a training from it."
            return row.id


def train_config(description: ModelDescription) -> TrainConfig:
    """A configuration whose model and features are those of `description`; raises ConfigError where none is."""
    model, features = description.model, description.features
    objectives: dict[tuple[str, float | None], Objective] = {
        ("linear", 8.0): "sigma",
        ("softplus", 8.0): "beta",
        ("sigmoid", None): "documented",
    }
    objective = objectives.get((model.output, model.logvar_bound))
    hop, rate = features.spectrogram.hop_length, features.spectrogram.sample_rate
    try:
        train = TrainConfig.model_validate(
            {
                **features.model_dump(),
                "objective": objective or "sigma",
                "kl_weight": BETA_KL_WEIGHT if objective == "beta" else 1.0,
                "dropout": model.dropout,
                "latent_dim": model.latent_dim,
                "chunk_s": (model.frames - 1) * hop / rate,
            }
        )
    except ValidationError as error:
        raise ConfigError(f"This file cannot be imported: {config_error(error)}.", field="file") from error
    difference = weights_incompatibility(model, features, train)
    if difference is not None or objective is None:
        raise ConfigError("This file cannot be imported: no training here makes such a model.", field="file")
    return train
