"""The features of one dataset version under one configuration, as the artifact store keeps them.

    features/<cache_key>/<sha256 of the shard>.safetensors   one tensor "frames" [rows, C * n_mels] float32
    features/<cache_key>/manifest.json                       written last: its presence means complete

A row is one frame, all channels of it one after the other. The rows of a clip at one speed stand together, clip
after clip in the order of their hashes, and for each clip speed after speed, so that any excerpt of any clip is a
range of rows. Shards are named by their content: two workers that make the same features at once, on machines
that round differently, cannot mix them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from shared.config import FeatureConfig, Frozen
from shared.errors import NotFoundError, StorageError, StorageFullError, TrainingError
from shared.storage import Storage

MANIFEST: Final = "manifest.json"
SHARD_BYTES: Final = 64 << 20
"""A shard is closed once it holds this much; a clip is never divided."""
MEMORY_SHARE: Final = 0.8
"""Share of the free memory that features may take."""


class ClipFrames(Frozen):
    """The rows of one clip."""

    sha256: str
    """Hash of the clip's bytes."""
    frames: tuple[int, ...]
    """Number of frames at each of the configuration's speeds."""


class Shard(Frozen):
    """One file of the set."""

    name: str
    sha256: str
    size_bytes: int
    rows: int


class FeatureManifest(Frozen):
    """What the set holds."""

    format: int = 1
    config: FeatureConfig
    channels: int
    """C."""
    clips: tuple[ClipFrames, ...]
    """In the order of their rows."""
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Frames of all clips at all speeds."""
        return sum(sum(clip.frames) for clip in self.clips)

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames in memory."""
        return self.rows * self.channels * self.config.spectrogram.n_mels * 4


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Features in memory."""

    manifest: FeatureManifest
    frames: Tensor
    """[1 + rows, C * n_mels] float32; row 0 is silence, which is 0 in every representation."""


def features_prefix(cache_key: str) -> str:
    """Folder of the feature set in the store."""
    return f"features/{cache_key}"


def read_manifest(storage: Storage, cache_key: str) -> FeatureManifest | None:
    """The manifest of a complete set whose shards are all there with their sizes; None otherwise."""
    prefix = features_prefix(cache_key)
    try:
        manifest = FeatureManifest.model_validate_json(storage.read(f"{prefix}/{MANIFEST}"))
        whole = all(storage.exists(f"{prefix}/{shard.name}") for shard in manifest.shards)
    except (NotFoundError, ValidationError):
        return None
    return manifest if whole else None


def load_feature_set(storage: Storage, cache_key: str) -> FeatureSet | None:
    """The set with every byte checked against its manifest; None where it is absent or damaged.

    Raises TrainingError where it does not fit into this machine's memory.
    """
    manifest = read_manifest(storage, cache_key)
    if manifest is None:
        return None
    free = psutil.virtual_memory().available
    if manifest.size_bytes > free * MEMORY_SHARE:
        raise TrainingError(
            f"The features take {manifest.size_bytes / 2**30:.1f} GiB, and this machine has {free / 2**30:.1f} GiB of"
            " memory free: use fewer files or fewer speeds."
        )
    width = manifest.channels * manifest.config.spectrogram.n_mels
    frames = torch.empty(1 + manifest.rows, width)
    frames[0] = 0.0
    row = 1
    for shard in manifest.shards:
        try:
            rows = _read_shard(storage.file(f"{features_prefix(cache_key)}/{shard.name}"), shard)
        except (NotFoundError, OSError, SafetensorError):
            return None
        if rows is None or rows.shape != (shard.rows, width):
            return None
        frames[row : row + shard.rows] = rows
        row += shard.rows
    return FeatureSet(manifest=manifest, frames=frames) if row == 1 + manifest.rows else None


def _read_shard(path: Path, shard: Shard) -> Tensor | None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
            return None
    with safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType] - untyped package
        rows: Tensor = content.get_tensor("frames")
    return rows


class FeatureWriter:
    """Collects a set in a local folder and puts it into the store when it is whole."""

    def __init__(self, storage: Storage, cache_key: str, config: FeatureConfig, channels: int, folder: Path) -> None:
        self._storage = storage
        self._prefix = features_prefix(cache_key)
        self._config = config
        self._channels = channels
        self._folder = folder
        self._clips: list[ClipFrames] = []
        self._shards: list[Shard] = []
        self._open: list[Tensor] = []
        self._open_bytes = 0

    def add(self, sha256: str, features: Sequence[Tensor]) -> None:
        """One clip: `features` [C, n_mels, T] float32 for each speed of the configuration, T differing."""
        if len(features) != len(self._config.speeds):
            raise ValueError("features must have one tensor for each speed")
        self._clips.append(ClipFrames(sha256=sha256, frames=tuple(each.shape[-1] for each in features)))
        for each in features:
            rows = each.permute(2, 0, 1).reshape(each.shape[-1], -1)
            self._open.append(rows)
            self._open_bytes += rows.numel() * 4
        if self._open_bytes >= SHARD_BYTES:
            self._close_shard()

    def finish(self) -> FeatureManifest:
        """Put everything into the store, the manifest last."""
        self._close_shard()
        for shard in self._shards:
            self._storage.write_file(f"{self._prefix}/{shard.name}", self._folder / shard.name)
        manifest = FeatureManifest(
            config=self._config, channels=self._channels, clips=tuple(self._clips), shards=tuple(self._shards)
        )
        self._storage.write(f"{self._prefix}/{MANIFEST}", _pretty(manifest.model_dump(mode="json")))
        return manifest

    def _close_shard(self) -> None:
        if not self._open:
            return
        rows = torch.cat(self._open)
        data = save({"frames": rows})
        digest = hashlib.sha256(data).hexdigest()
        name = f"{digest}.safetensors"
        try:
            (self._folder / name).write_bytes(data)
        except OSError as error:
            raise StorageFullError(
                f"The features could not be kept in {self._folder}: {error.strerror}; free some space there."
            ) from error
        self._shards.append(Shard(name=name, sha256=digest, size_bytes=len(data), rows=len(rows)))
        self._open, self._open_bytes = [], 0


def _pretty(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def check_clip_is_there(storage: Storage, sha256: str, name: str) -> Path:
    """A local file with the clip's bytes; raises StorageError that names the clip where the store lost it."""
    try:
        return storage.file(f"clips/{sha256}")
    except NotFoundError as error:
        raise StorageError(f"The store no longer holds {name}: upload it again.") from error
