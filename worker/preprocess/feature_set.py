"""The features of one dataset version under one configuration, as the artifact store keeps them.

    features/<cache_key>/<sha256 of the shard>.safetensors   one tensor "frames" [rows, C * n_mels] float32
    features/<cache_key>/manifest.json                       written last: its presence means complete

A row is one frame, all channels of it one after the other. The rows of a clip at one speed or pitch stand together,
clip after clip in the order of their hashes, and for each clip variant after variant, so that any excerpt of any clip
is a range of rows; where a shard ends has no meaning. Shards are named by their content: two workers that make the
same features at once, on machines that round differently, cannot mix them.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shared.config import FeatureConfig, Frozen
from shared.errors import DamagedError, NotFoundError, StorageError, StorageFullError, TrainingError
from shared.storage import Storage, sha256_of

MANIFEST: Final = "manifest.json"
SHARD_BYTES: Final = 32 << 20
"""Most that a shard holds: what making or loading a set takes in memory beside the set's own rows."""
MEMORY_SHARE: Final = 0.8
"""Share of the free memory that features may take."""


class ClipFrames(Frozen):
    """The rows of one clip."""

    sha256: str
    """Hash of the clip's bytes."""
    frames: tuple[int, ...]
    """Number of frames of each of the configuration's variants: at every speed, then at every pitch."""


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
        """Frames of all variants of all clips."""
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
            " memory free: use fewer files, speeds or pitches."
        )
    width = manifest.channels * manifest.config.spectrogram.n_mels
    frames = torch.empty(1 + manifest.rows, width)
    frames[0] = 0.0
    row = 1
    for shard in manifest.shards:
        try:
            rows = _read_shard(storage.file(f"{features_prefix(cache_key)}/{shard.name}"), shard)
        except (NotFoundError, DamagedError, OSError, SafetensorError):
            return None
        if rows is None or rows.shape != (shard.rows, width):
            return None
        frames[row : row + shard.rows] = rows
        row += shard.rows
    return FeatureSet(manifest=manifest, frames=frames) if row == 1 + manifest.rows else None


def _read_shard(path: Path, shard: Shard) -> Tensor | None:
    if sha256_of(path) != shard.sha256:
        return None
    with safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType] - untyped package
        rows: Tensor = content.get_tensor("frames")
    return rows


class FeatureWriter:
    """Collects a set in a local folder, shard by shard, and puts it into the store when it is whole."""

    def __init__(self, storage: Storage, cache_key: str, config: FeatureConfig, channels: int, folder: Path) -> None:
        self._storage = storage
        self._prefix = features_prefix(cache_key)
        self._config = config
        self._channels = channels
        self._folder = folder
        self._clips: list[ClipFrames] = []
        self._shards: list[Shard] = []
        width = channels * config.spectrogram.n_mels
        self._open = torch.empty(max(1, SHARD_BYTES // (4 * width)), width)
        """[rows that a shard may have, C * n_mels]"""
        self._filled = 0

    def add(self, rows: Tensor) -> None:
        """The next frames [N, C * n_mels] float32 of a clip: those of one variant, or a part of them."""
        while len(rows):
            taken = rows[: len(self._open) - self._filled]
            self._open[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == len(self._open):
                self._close_shard()

    def end_clip(self, sha256: str, frames: Sequence[int]) -> None:
        """What was added since the last clip is this one's: `frames` rows of each variant of the configuration."""
        if len(frames) != self._config.variants:
            raise ValueError("frames must have one number for each speed and pitch")
        self._clips.append(ClipFrames(sha256=sha256, frames=tuple(frames)))

    def finish(self) -> FeatureManifest:
        """Put everything into the store, the manifest last."""
        self._close_shard()
        manifest = FeatureManifest(
            config=self._config, channels=self._channels, clips=tuple(self._clips), shards=tuple(self._shards)
        )
        if manifest.rows != sum(shard.rows for shard in self._shards):
            raise ValueError("the clips must have as many frames as were added")
        for name in dict.fromkeys(shard.name for shard in self._shards):  # silence fills shards of the same content
            self._storage.write_file(f"{self._prefix}/{name}", self._folder / name)
            (self._folder / name).unlink()
        self._storage.write(f"{self._prefix}/{MANIFEST}", _pretty(manifest.model_dump(mode="json")))
        return manifest

    def _close_shard(self) -> None:
        if not self._filled:
            return
        unnamed = self._folder / "shard"
        with explained_scratch(self._folder):
            save_file({"frames": self._open[: self._filled]}, unnamed)
            digest, size_bytes = sha256_of(unnamed), unnamed.stat().st_size
            name = f"{digest}.safetensors"
            unnamed.replace(self._folder / name)
        self._shards.append(Shard(name=name, sha256=digest, size_bytes=size_bytes, rows=self._filled))
        self._filled = 0


@contextmanager
def explained_scratch(folder: Path) -> Generator[None]:
    """Turn what a full or broken disk does to files in `folder` into our error."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StorageFullError(
            f"The features could not be kept in {folder}: {reason}; free some space there."
        ) from error


def _pretty(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def check_clip_is_there(storage: Storage, sha256: str, name: str) -> Path:
    """A local file with the clip's bytes; raises StorageError that names the clip where the store lost it."""
    try:
        return storage.file(f"clips/{sha256}")
    except NotFoundError as error:
        raise StorageError(f"The store no longer holds {name}: upload it again.") from error
