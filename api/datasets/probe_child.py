"""Decodes untrusted audio files in a process with limits of its own.

Started by `api.datasets.probe` as a plain script in Python's isolated mode. One request per line on standard
input, a JSON object {"path": ...}; one answer per line on standard output:

    {"frames": 44100, "sample_rate": 44100, "channels": 2, "format": "WAV", "subtype": "PCM_16"}
    {"refused": "unreadable" | "damaged" | "too_long" | "channels" | "rate" | "not_finite", "reason": "..."}

Decoding is done by libsndfile in C, on data that a stranger may have made: memory, processor time and writing are
limited by the system, the whole file is decoded block by block, and whatever kills this process costs one file.
"""

from __future__ import annotations

import json
import resource
import select
import sys
from contextlib import suppress
from typing import Any, Final

import numpy
import soundfile

ADDRESS_SPACE_BYTES: Final = 2 << 30
CPU_S: Final = 120
"""Processor time for one file."""
IDLE_S: Final = 30.0
"""Time without a request after which the process ends and frees its memory."""
BLOCK_VALUES: Final = 1 << 18
"""Values (frames x channels) that are decoded at once."""
MAX_VALUES: Final = 1_500_000_000
"""Frames x channels of one file: a little more than 2 hours of stereo at 96 kHz."""
MAX_DURATION_S: Final = 2 * 3600
MAX_CHANNELS: Final = 64
MIN_SAMPLE_RATE_HZ: Final = 1_000
MAX_SAMPLE_RATE_HZ: Final = 768_000


def main() -> None:
    """Answer requests until standard input ends or nothing came for a while."""
    _limit_process()
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], IDLE_S)
        line = sys.stdin.readline() if ready else ""
        if not line:
            return
        _limit_next_file()
        sys.stdout.write(json.dumps(probe(json.loads(line)["path"])) + "\n")
        sys.stdout.flush()


def probe(path: str) -> dict[str, Any]:
    """Decode the file at `path` to its end and tell what it is, or why it is refused."""
    try:
        try:
            # The path is a temporary one without an ending, so that libsndfile goes by content alone.
            sound = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            return {"refused": "unreadable", "reason": _reason(error)}
        with sound:
            return _refusal(sound) or _decode(sound)
    except soundfile.LibsndfileError as error:
        return {"refused": "damaged", "reason": _reason(error)}
    except MemoryError:
        return {"refused": "damaged", "reason": "decoding it takes more memory than is allowed"}


def _refusal(sound: soundfile.SoundFile) -> dict[str, Any] | None:
    """What the header alone rules out, before anything is decoded."""
    if not 1 <= sound.channels <= MAX_CHANNELS:
        return {"refused": "channels", "reason": f"{sound.channels} channels, where {MAX_CHANNELS} are the most"}
    if not MIN_SAMPLE_RATE_HZ <= sound.samplerate <= MAX_SAMPLE_RATE_HZ:
        return {"refused": "rate", "reason": f"a sample rate of {sound.samplerate} Hz"}
    if sound.frames > frame_limit(sound.channels, sound.samplerate):
        return {"refused": "too_long", "reason": f"{sound.frames / sound.samplerate / 60:.0f} minutes"}
    return None


def _decode(sound: soundfile.SoundFile) -> dict[str, Any]:
    frames = 0
    limit = frame_limit(sound.channels, sound.samplerate)
    block = numpy.empty((max(1, BLOCK_VALUES // sound.channels), sound.channels), dtype=numpy.float32)
    while True:
        decoded = sound.read(out=block)
        if not len(decoded):
            break
        if not numpy.isfinite(decoded).all():
            return {"refused": "not_finite", "reason": f"around {frames / sound.samplerate:.2f} s"}
        frames += len(decoded)
        if frames > limit:
            return {"refused": "too_long", "reason": f"more than {limit / sound.samplerate / 60:.0f} minutes"}
    if 0 < frames < sound.frames:
        missing_s = (sound.frames - frames) / sound.samplerate
        return {"refused": "damaged", "reason": f"{missing_s:.2f} s that its header promises are missing"}
    return {
        "frames": frames,
        "sample_rate": sound.samplerate,
        "channels": sound.channels,
        "format": sound.format,
        "subtype": sound.subtype,
    }


def frame_limit(channels: int, sample_rate: int) -> int:
    """Frames that a file of so many channels may have: min(MAX_VALUES / channels, MAX_DURATION_S x rate)."""
    return min(MAX_VALUES // channels, MAX_DURATION_S * sample_rate)


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().removeprefix("Error : ").rstrip(".")


def _limit_process() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        # A system that does not know a limit (macOS: address space) refuses to set it; the others still hold.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def _limit_next_file() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, hard))


if __name__ == "__main__":
    main()
