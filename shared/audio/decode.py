"""Sound files to samples, and samples to files; libsndfile through soundfile, resampling by soxr.

file  --decode_mono-->  waveform [S] float32 in [-1, 1]  --write_wav_16-->  16-bit WAV
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from shared.config import MIN_CLIP_SAMPLES
from shared.errors import AudioError

Samples = npt.NDArray[np.float32]


def decode_mono(path: Path, sample_rate: int, *, speed: float = 1.0, name: str = "") -> Samples:
    """The sound in `path` as float32 [S] at `sample_rate` Hz, peak-normalised to 0 dBFS.

    Channels are averaged. At `speed` s it plays s times as fast and s times as high, as a tape would:
    S = frames * sample_rate / (its own rate * s), rounded. Silence stays silence. Raises AudioError for a file
    that cannot be read, has fewer than MIN_CLIP_SAMPLES frames, or holds values that are not numbers; the error
    calls it `name`, what the person called it (default: the path's own name).
    """
    if speed <= 0:
        raise ValueError("speed must be positive")
    name = name or path.name
    channels, source_rate = _read(path, name)
    if len(channels) < MIN_CLIP_SAMPLES:
        raise AudioError(
            f"{name} has {len(channels)} samples, at least {MIN_CLIP_SAMPLES} are needed: leave it out or take a"
            " longer one.",
            file_name=name,
        )
    if not np.isfinite(channels).all():
        raise AudioError(
            f"{name} holds values that are not numbers: export it again from where it came.", file_name=name
        )
    # Summed in float64, where two channels at the end of float32's range do not overflow.
    mono = channels.mean(axis=1, dtype=np.float64).astype(np.float32)
    mono = _to_full_scale(mono)
    if source_rate * speed != sample_rate:
        mono = _to_full_scale(soxr.resample(mono, source_rate * speed, sample_rate, quality="VHQ"))
    return mono


def write_wav_16(target: Path | BinaryIO, waveform: Samples, sample_rate: int) -> None:
    """Writes `waveform` [S] as a mono 16-bit PCM WAV; what exceeds [-1, 1] is clipped, not-a-number is silence."""
    usable = np.clip(np.nan_to_num(waveform, nan=0.0), -1.0, 1.0)
    # soundfile leaves rounding to libsndfile, whose float scaling differs between builds; integers are exact.
    soundfile.write(target, np.round(usable * 32_767).astype(np.int16), sample_rate, format="WAV", subtype="PCM_16")


def _read(path: Path, name: str) -> tuple[Samples, int]:
    """Frames [S, channels] and the file's own rate in Hz."""
    try:
        frames: Any
        frames, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"{name} cannot be read as sound: use WAV, FLAC, AIFF, OGG or MP3.", file_name=name) from error
    return frames, int(rate)


def _to_full_scale(mono: Samples) -> Samples:
    """Scaled to a peak of 1; silence as it is."""
    peak = float(np.abs(mono).max(initial=0.0))
    return mono / peak if peak > 0 else mono
