"""Small sounds made on the spot: different enough for a model to have something to learn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from shared.jobs import Clip, DatasetSnapshot
from shared.storage import Storage


def make_sound(seed: int, *, duration_s: float = 0.5, sample_rate: int = 48_000) -> np.ndarray:
    """A decaying tone with some noise, float32 in [-1, 1]; `seed` decides pitch, decay and noise."""
    random = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    pitch_hz = 110.0 * 2 ** random.uniform(0, 4)
    tone = np.sin(2 * np.pi * pitch_hz * time_s) + 0.5 * np.sin(2 * np.pi * 2 * pitch_hz * time_s)
    noise = random.normal(size=time_s.size) * random.uniform(0.01, 0.3)
    envelope = np.exp(-time_s * random.uniform(2, 12))
    sound = (tone + noise) * envelope
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


def write_sounds(folder: Path, count: int, *, duration_s: float = 0.5, first_seed: int = 0) -> list[Path]:
    """`count` WAV files named `sound-<n>.wav` in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for seed in range(first_seed, first_seed + count):
        path = folder / f"sound-{seed:03}.wav"
        soundfile.write(path, make_sound(seed, duration_s=duration_s), 48_000, subtype="PCM_16")
        paths.append(path)
    return paths


def store_dataset(storage: Storage, sounds: Sequence[Path], *, name_of: Callable[[Path], str] = str) -> DatasetSnapshot:
    """A dataset of `sounds`, whose clips are put into `storage`; clips stand in the order of `sounds`."""
    clips: list[Clip] = []
    for path in sounds:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        storage.write(f"clips/{sha256}", data)
        info = soundfile.info(path)
        clips.append(
            Clip(
                sha256=sha256,
                name=name_of(path),
                num_samples=info.frames,
                sample_rate=info.samplerate,
                channels=info.channels,
                format=info.format,
                size_bytes=len(data),
            )
        )
    version_hash = hashlib.sha256("".join(sorted({clip.sha256 for clip in clips})).encode()).hexdigest()
    return DatasetSnapshot(dataset_id=1, name="sounds", version=1, version_hash=version_hash, clips=tuple(clips))
