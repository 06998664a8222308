"""Checkpoints: everything that a training needs to go on at its exact step.

    jobs/<id>/checkpoints/<attempt>-<step>/model.safetensors   weights and buffers, with what rebuilds the model
    jobs/<id>/checkpoints/<attempt>-<step>/state.pt            optimizer, random generators, position, counters
    jobs/<id>/checkpoints/<attempt>-<step>/manifest.json       SHA-256 of both and of itself, written last

Where a training averages its weights, the model file holds their average, and the state the newest ones, from which a
resume goes on.

Each file is written whole or not at all, and a checkpoint without a matching manifest does not count. The newest
valid one wins; attempts count first, steps second, since a later attempt may have gone back.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from shared.config import Frozen, TrainConfig
from shared.errors import CheckpointError, CorruptCheckpointError, DamagedError, NotFoundError, StorageError
from shared.events import CheckpointReason, Number
from shared.jobs import CHANGEABLE
from shared.model_file import DESCRIPTION, ModelDescription
from shared.storage import Storage
from worker.train.host_copy import Claim

CHECKPOINT_FORMAT: Final = 1
MODEL_FILE: Final = "model.safetensors"
STATE_FILE: Final = "state.pt"
MANIFEST_FILE: Final = "manifest.json"
NEWEST_KEPT: Final = 3
SPACE_FACTOR: Final = 2.5
"""Free space that a save wants, in sizes of a checkpoint."""


class CheckpointFile(Frozen):
    """One file of a checkpoint."""

    sha256: str
    size_bytes: int


class CheckpointManifest(Frozen):
    """What a checkpoint is, readable without torch."""

    format: int = CHECKPOINT_FORMAT
    name: str
    """`<attempt>-<step>`"""
    attempt: int
    epoch: int
    """Epoch that the step belongs to, counted from 1."""
    step: int
    """Steps done."""
    reason: CheckpointReason
    best: bool
    """Whether it held the lowest reconstruction error when it was saved."""
    saved_at: float
    """Seconds since 1970."""
    config: TrainConfig
    dataset_version: str
    """Hash of the dataset version that it learned from."""
    loss: Number = None
    val_reconstruction: Number = None
    device: str
    """Kind of device that it was computed on."""
    versions: dict[str, str]
    files: dict[str, CheckpointFile]
    seal: str = ""
    """SHA-256 of everything else that the manifest says; see `_seal`."""

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A training at a step boundary, copied to the host's memory, so that it can be written while steps go on."""

    attempt: int
    epoch: int
    step: int
    reason: CheckpointReason
    best: bool
    config: TrainConfig
    dataset_version: str
    loss: Number
    val_reconstruction: Number
    device: str
    versions: dict[str, str]
    model: dict[str, Tensor]
    """Weights and buffers by name, as the model file has them."""
    description: ModelDescription
    state: dict[str, Any]
    """Plain values and tensors only: it is read back with `weights_only`."""
    wished_at: float
    """time.monotonic() when somebody wished it."""
    repeat: int = 0
    """How many checkpoints of this attempt and step came before: at an epoch's end there may be two."""
    claim: Claim | None = None
    """Keeps the memory of the copies from being used again for as long as the snapshot lives."""

    @property
    def name(self) -> str:
        """Name of the checkpoint, never used twice: a save that fails must not cost one that did not."""
        return checkpoint_name(self.attempt, self.step, self.repeat)


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A checkpoint whose every byte matched its manifest."""

    manifest: CheckpointManifest
    model: dict[str, Tensor]
    description: ModelDescription
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one job.

    Where `recorded` is given, it lists those of earlier attempts that the record knows. Others of earlier attempts
    were saved by a trainer that nobody heard any more: what it reported on the way was refused, so a training that
    went on from there would lack those steps. They count for nothing and are cleared away.
    """

    def __init__(
        self, storage: Storage, job_id: int, *, attempt: int = 0, recorded: Sequence[str] | None = None
    ) -> None:
        self._storage = storage
        self._folder = f"jobs/{job_id}/checkpoints"
        self._attempt = attempt
        self._recorded = None if recorded is None else frozenset(recorded)

    def names(self) -> list[str]:
        """Names of all checkpoints that count, valid or not, newest first."""
        return [name for name in self._all_names() if self._counts(name)]

    def _all_names(self) -> list[str]:
        found = [name for name in self._storage.names(self._folder) if _order(name) is not None]
        return sorted(found, key=lambda name: _order(name) or (0, 0, 0), reverse=True)

    def _counts(self, name: str) -> bool:
        attempt = (_order(name) or (0, 0, 0))[0]
        return self._recorded is None or attempt >= self._attempt or name in self._recorded

    def manifest(self, name: str) -> CheckpointManifest:
        """The manifest of `name`; raises CorruptCheckpointError where it is absent or unreadable."""
        try:
            content = self._storage.read(f"{self._folder}/{name}/{MANIFEST_FILE}")
            manifest = CheckpointManifest.model_validate_json(content)
        except NotFoundError as error:
            raise CorruptCheckpointError(f"Checkpoint {name} has no manifest.", name=name) from error
        except (ValidationError, DamagedError) as error:
            raise CorruptCheckpointError(f"Checkpoint {name} has a damaged manifest.", name=name) from error
        if manifest.seal != _seal(content):
            raise CorruptCheckpointError(f"Checkpoint {name} is damaged: its manifest was changed.", name=name)
        return manifest

    def save(self, snapshot: Snapshot, *, on_part: Callable[[], None] = lambda: None) -> CheckpointManifest:
        """Write `snapshot`, durable on return; `on_part` is called after each file.

        Raises StorageError or StorageFullError; nothing is left of it then.
        """
        if snapshot.claim is not None:
            snapshot.claim.wait()
        folder = f"{self._folder}/{snapshot.name}"
        files: dict[str, CheckpointFile] = {}
        try:
            for name, data in _encode(snapshot):
                on_part()
                self._storage.write(f"{folder}/{name}", data)
                files[name] = CheckpointFile(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            on_part()
            manifest = _manifest(snapshot, files)
            self._storage.write(f"{folder}/{MANIFEST_FILE}", manifest.model_dump_json(indent=1).encode())
        except BaseException:
            # A save that failed must not take the space that the next one needs. A store that is away keeps it.
            with suppress(StorageError):
                self._storage.delete(folder)
            raise
        return manifest

    def take(
        self, other: CheckpointStore, name: str, *, on_part: Callable[[], None] = lambda: None
    ) -> CheckpointManifest:
        """Bring the checkpoint `name` over from `other`, where it is removed once it is durable here.

        Raises StorageError, CorruptCheckpointError; what came over so far stays, and the next try goes on from it.
        """
        manifest = other.manifest(name)
        for file in (*manifest.files, MANIFEST_FILE):
            on_part()
            path = other._storage.file(f"{other._folder}/{name}/{file}")
            self._storage.write_file(f"{self._folder}/{name}/{file}", path)
        other.remove(name)
        if self._recorded is not None:
            self._recorded |= {name}  # whoever brings it tells of it, too
        return manifest

    def remove(self, name: str) -> None:
        """Remove the checkpoint `name`."""
        self._storage.delete(f"{self._folder}/{name}")

    def load(self, name: str) -> LoadedCheckpoint:
        """The checkpoint called `name`; raises CorruptCheckpointError unless it is whole."""
        manifest = self.manifest(name)
        content: dict[str, bytes] = {}
        for file, expected in manifest.files.items():
            try:
                content[file] = self._storage.read(f"{self._folder}/{name}/{file}")
            except NotFoundError as error:
                raise CorruptCheckpointError(f"Checkpoint {name} lacks {file}.", name=name) from error
            except DamagedError as error:
                raise CorruptCheckpointError(f"Checkpoint {name} is damaged: {file} was changed.", name=name) from error
            if hashlib.sha256(content[file]).hexdigest() != expected.sha256:
                raise CorruptCheckpointError(f"Checkpoint {name} is damaged: {file} was changed.", name=name)
        try:
            model, description = decode_model(content[MODEL_FILE])
            state = cast(dict[str, Any], torch.load(io.BytesIO(content[STATE_FILE]), weights_only=True))
        except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise CorruptCheckpointError(f"Checkpoint {name} cannot be read: {error}", name=name) from error
        return LoadedCheckpoint(manifest=manifest, model=model, description=description, state=state)

    def load_newest(self, *, on_corrupt: Callable[[CorruptCheckpointError], None]) -> LoadedCheckpoint | None:
        """The newest valid checkpoint, None without any; `on_corrupt` hears of each one that was passed over."""
        for name in self.names():
            try:
                return self.load(name)
            except CorruptCheckpointError as error:
                on_corrupt(error)
        return None

    def prune(self, *, attempt: int, best: str | None, recorded: str | None = None) -> list[str]:
        """Remove all but the newest three, `best`, `recorded` and the final ones; returns what is kept, newest first.

        `recorded` is the newest one that a later attempt would hear of, which may be older than those three.

        One without a readable manifest is neither kept nor counted: an interrupted save left it. Nothing is
        removed once an attempt newer than `attempt` has saved: the job is no longer the caller's.
        """
        names = self._all_names()
        if any(attempt_of(name) > attempt for name in names):
            return names
        kept: list[str] = []
        for name in names:
            try:
                manifest = self.manifest(name)
            except CorruptCheckpointError:
                manifest = None
            wanted = len(kept) < NEWEST_KEPT or name in (best, recorded) or (manifest and manifest.reason == "final")
            if manifest and wanted and self._counts(name):
                kept.append(name)
            else:
                self.remove(name)
        return kept

    def best_of(self, name: str | None) -> str | None:
        """`name` where it exists; else the newest one that was the best when it was saved, None without any."""
        names = self.names()
        if name in names:
            return name
        for each in names:
            try:
                if self.manifest(each).best:
                    return each
            except CorruptCheckpointError:
                continue  # it cannot be loaded either
        return None

    def has_room(self, size_bytes: int) -> bool:
        """Whether the store has space for SPACE_FACTOR checkpoints of that size, as far as it tells."""
        free = self._storage.free_bytes()
        return free is None or free >= SPACE_FACTOR * size_bytes


def check_compatible(loaded: CheckpointManifest, config: TrainConfig, dataset_version: str) -> None:
    """Raise CheckpointError naming the first difference that a resume may not make."""
    before, now = loaded.config.model_dump(mode="json"), config.model_dump(mode="json")
    for field, value in before.items():
        if field not in CHANGEABLE and now[field] != value:
            raise CheckpointError(
                f"Checkpoint {loaded.name} was trained with {field} {value}, this job says {now[field]}: start a new"
                " job to change it."
            )
    if loaded.dataset_version != dataset_version:
        raise CheckpointError(
            f"Checkpoint {loaded.name} learned from another version of the dataset: start a new job for this one."
        )


def snapshot_size(snapshot: Snapshot) -> int:
    """Bytes that it will take, roughly: those of its tensors."""
    return sum(tensor.nbytes for tensor in snapshot.model.values()) + _tensor_bytes(snapshot.state)


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, cast(Mapping[Any, Any], value).values()))
    return sum(map(_tensor_bytes, cast(list[Any], value))) if isinstance(value, list) else 0


def _encode(snapshot: Snapshot) -> list[tuple[str, bytes]]:
    weights = {name: tensor.contiguous() for name, tensor in snapshot.model.items()}
    state = io.BytesIO()
    torch.save(snapshot.state, state)
    description = snapshot.description.model_dump_json()
    return [
        (MODEL_FILE, save_safetensors(weights, metadata={DESCRIPTION: description})),
        (STATE_FILE, state.getvalue()),
    ]


def decode_model(data: bytes) -> tuple[dict[str, Tensor], ModelDescription]:
    """Weights and buffers of a MODEL_FILE, and what they are.

    Raises KeyError, ValueError or SafetensorError where it is none.
    """
    header_size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_size])
    return load_safetensors(data), ModelDescription.model_validate_json(header["__metadata__"][DESCRIPTION])


def _manifest(snapshot: Snapshot, files: dict[str, CheckpointFile]) -> CheckpointManifest:
    manifest = CheckpointManifest(
        name=snapshot.name,
        attempt=snapshot.attempt,
        epoch=snapshot.epoch,
        step=snapshot.step,
        reason=snapshot.reason,
        best=snapshot.best,
        saved_at=time.time(),
        config=snapshot.config,
        dataset_version=snapshot.dataset_version,
        loss=snapshot.loss,
        val_reconstruction=snapshot.val_reconstruction,
        device=snapshot.device,
        versions=snapshot.versions,
        files=files,
    )
    return manifest.model_copy(update={"seal": _seal(manifest.model_dump_json())})


def _seal(manifest: str | bytes) -> str:
    """SHA-256 over the fields of a manifest as they stand in its JSON, the seal left out.

    Not over the validated values: a version of Spectrain that knows more fields reads the same seal.
    """
    fields = cast(dict[str, Any], json.loads(manifest))
    fields.pop("seal", None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def checkpoint_name(attempt: int, step: int, repeat: int = 0) -> str:
    """`<attempt>-<step>`, and for a further one of the same step `<attempt>-<step>-<repeat>`."""
    return f"{attempt}-{step}-{repeat}" if repeat else f"{attempt}-{step}"


def attempt_of(name: str) -> int:
    """The attempt that saved the checkpoint `name`; 0 for a name that is none."""
    return (_order(name) or (0, 0, 0))[0]


def _order(name: str) -> tuple[int, int, int] | None:
    """What sorts checkpoints by age; None for a name that is none."""
    parts = name.split("-")
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        return None
    attempt, step, repeat = (*map(int, parts), 0)[:3]
    return attempt, step, repeat
