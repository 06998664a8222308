"""Sound files to samples, and samples to files; libsndfile through soundfile, resampling by soxr.

file  --read_mono-->  [S] at its own rate  --resample-->  waveform [S] float32 in [-1, 1]  --write_wav_16-->  16-bit WAV

Nothing is taken from a sound but its level: a constant offset (DC) stays, since taking the mean away would turn the
silence around a short sound into steps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from typing_extensions import override

from shared.config import MIN_CLIP_SAMPLES
from shared.errors import AudioError

Samples = npt.NDArray[np.float32]

RESAMPLER: Final[Literal["VHQ"]] = "VHQ"
"""soxr's best: 28 bits. HQ (20 bits) takes two thirds of its time, which is a tenth of what features take."""

BLOCK_VALUES: Final = 1 << 18
"""Values (frames x channels) that are decoded at once: 1 MiB, however long the file and however many its channels."""


@dataclass(frozen=True, kw_only=True)
class MonoSound:
    """A file that is being read."""

    sample_rate: int
    """Its own, in Hz."""
    blocks: Iterator[Samples]
    """The mean of its channels, [S] float32 each, as it comes: level and number of samples are not looked at."""


def decode_mono(path: Path, sample_rate: int, *, speed: float = 1.0, name: str = "") -> Samples:
    """The sound in `path` as float32 [S] at `sample_rate` Hz, peak-normalised to 0 dBFS.

    Channels are averaged. At `speed` s it plays s times as fast and s times as high, as a tape would:
    S = frames * sample_rate / (its own rate * s), rounded. Silence stays silence. Raises AudioError for a file
    that cannot be read, has fewer than MIN_CLIP_SAMPLES frames, or holds values that are not numbers; the error
    calls it `name`, what the person called it (default: the path's own name).
    """
    mono, source_rate = read_mono(path, name=name)
    return resample(mono, source_rate, sample_rate, speed=speed)


def read_mono(path: Path, *, name: str = "") -> tuple[Samples, int]:
    """The sound in `path`, float32 [S] peak-normalised to 0 dBFS, and its own rate in Hz; errors as `decode_mono`."""
    with open_mono(path, name=name) as sound:
        blocks = list(sound.blocks)
        mono = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, np.float32), *blocks])
        check_length(len(mono), name or path.name)
        return to_full_scale(mono), sound.sample_rate


def resample(mono: Samples, source_rate: int, sample_rate: int, *, speed: float = 1.0) -> Samples:
    """`mono` [S] at `source_rate` Hz as it is at `sample_rate` Hz and `speed`, peak-normalised again."""
    if speed <= 0:
        raise ValueError("speed must be positive")
    if source_rate * speed == sample_rate:
        return mono
    return to_full_scale(soxr.resample(mono, source_rate * speed, sample_rate, quality=RESAMPLER))


class _Forward(soundfile.SoundFile):
    """A file that is read once, from its beginning to its end.

    Of one that can be sought, soundfile asks the place before every read and seeks it afterwards: compressed formats
    take a quarter of their time for that.
    """

    @override
    def seekable(self) -> bool:
        """Not as far as reading goes."""
        return False


@contextmanager
def open_mono(path: Path, *, name: str = "") -> Generator[MonoSound]:
    """The file at `path`, to be read block by block; raises AudioError where it cannot be, or holds no numbers."""
    name = name or path.name
    with _explained(name):
        file = _Forward(path)
    with file:
        yield MonoSound(sample_rate=int(file.samplerate), blocks=_mono_blocks(file, name))


def check_length(num_samples: int, name: str) -> None:
    """Raises AudioError for a sound that is too short."""
    if num_samples < MIN_CLIP_SAMPLES:
        raise AudioError(
            f"{name} has {num_samples} samples, at least {MIN_CLIP_SAMPLES} are needed: leave it out or take a"
            " longer one.",
            file_name=name,
        )


def peak_of(mono: Samples) -> float:
    """Largest absolute value; 0 of nothing; not a number where one of them is none."""
    return max(float(mono.max()), -float(mono.min())) if len(mono) else 0.0


def to_full_scale(mono: Samples) -> Samples:
    """`mono` itself, scaled to a peak of 1; silence as it is."""
    peak = peak_of(mono)
    if peak not in (0.0, 1.0):
        mono /= np.float32(peak)
    return mono


def write_wav_16(target: Path | BinaryIO, waveform: Samples, sample_rate: int) -> None:
    """Writes `waveform` [S] as a mono 16-bit PCM WAV; what exceeds [-1, 1] is clipped, not-a-number is silence."""
    usable = np.clip(np.nan_to_num(waveform, nan=0.0), -1.0, 1.0)
    # soundfile leaves rounding to libsndfile, whose float scaling differs between builds; integers are exact.
    soundfile.write(target, np.round(usable * 32_767).astype(np.int16), sample_rate, format="WAV", subtype="PCM_16")


def _mono_blocks(file: Any, name: str) -> Iterator[Samples]:
    # Each channel's share before they are added: two at the end of float32's range do not overflow.
    share = np.full(file.channels, 1 / file.channels, np.float32)
    buffer = np.empty((max(1, BLOCK_VALUES // file.channels), file.channels), np.float32)
    while True:
        with _explained(name):
            frames: Samples = file.read(out=buffer)
        if not len(frames):
            return
        with np.errstate(invalid="ignore"):  # infinities of both signs: refused below
            mono = frames[:, 0].copy() if len(share) == 1 else frames @ share
        if not np.isfinite(peak_of(mono)):
            raise AudioError(
                f"{name} holds values that are not numbers: export it again from where it came.", file_name=name
            )
        yield mono


@contextmanager
def _explained(name: str) -> Generator[None]:
    """Turn what soundfile raises into ours."""
    try:
        yield
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"{name} cannot be read as sound: use WAV, FLAC, AIFF, OGG or MP3.", file_name=name) from error
