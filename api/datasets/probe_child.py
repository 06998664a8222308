"""Decodes untrusted audio files in a process with limits of its own.

Started by `api.datasets.limited` as a plain script in Python's isolated mode. Standard input is a Unix socket: each
request is a JSON object that brings an open file along; one answer per line goes to standard output:

    {"frames": 44100, "sample_rate": 44100, "channels": 2, "format": "WAV", "subtype": "PCM_16", "peak": 0.9, ...}
    {"refused": "unreadable" | "damaged" | "too_long" | "channels" | "rate" | "not_finite", "reason": "..."}

With "columns" in the request it answers with a drawing instead: {"low": [...], "high": [...]}, the lowest and highest
sample of each column in [-1, 1]; with "rows" too {"levels": "<base64>"}, a byte per cell, row by row from the highest
frequency down, 0 for RANGE_DB below a sine at full scale and 255 for that.

Decoding is done by libsndfile in C, on data that a stranger may have made. So the process can open no file of its own
and needs no rights: where it is started by root it becomes nobody, it gains none by any program (Linux), starts no
other process, and memory, processor time and writing are limited by the system. The whole file is decoded block by
block, and whatever kills this process costs one file.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import pwd
import resource
import select
import socket
import sys
from contextlib import suppress
from typing import Any, Final

import numpy
import numpy.fft
import soundfile

ADDRESS_SPACE_BYTES: Final = 2 << 30
CPU_S: Final = 120
"""Processor time for one file."""
OPEN_FILES: Final = 32
IDLE_S: Final = 30.0
"""Time without a request after which the process ends and frees its memory."""
BLOCK_VALUES: Final = 1 << 18
"""Values (frames x channels) that are decoded at once."""
MAX_VALUES: Final = 1_500_000_000
"""Frames x channels of one file: a little more than 2 hours of stereo at 96 kHz."""
MAX_DURATION_S: Final = 2 * 3600
MAX_CHANNELS: Final = 64
SILENT: Final = 0.001
"""Loudest sample of what counts as silence: -60 dBFS."""
CLIPPED: Final = 0.999
"""From here on a sample may be cut off; it counts with both neighbours up there, since a mere peak has slopes."""
DRAWN_WHOLE: Final = 1 << 22
"""Values up to which a sound is drawn from all of it; of a longer one each column sees a part."""
SEEN: Final = 1 << 13
"""Frames of a longer sound that a column sees."""
N_FFT: Final = 2048
RANGE_DB: Final = 80.0
LOWEST_HZ: Final = 30.0
MIN_SAMPLE_RATE_HZ: Final = 1_000
MAX_SAMPLE_RATE_HZ: Final = 768_000
_REQUEST_BYTES: Final = 4096
_PR_SET_NO_NEW_PRIVS: Final = 38


def main() -> None:
    """Answer requests until standard input ends or nothing came for a while."""
    requests = socket.socket(fileno=sys.stdin.fileno())
    _limit_process()
    while True:
        ready, _, _ = select.select([requests], [], [], IDLE_S)
        said, files, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 1) if ready else (b"", [], 0, "")
        if not said:
            return
        _limit_next_file(files[0])
        request = json.loads(said)
        columns, rows = request.get("columns", 0), request.get("rows", 0)
        try:
            answer = draw(files[0], columns, rows) if columns else probe(files[0])
        finally:
            os.close(files[0])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def probe(file: int) -> dict[str, Any]:
    """Decode the open file with the descriptor `file` to its end; tell what it is, or why it is refused."""
    try:
        try:
            # A descriptor has no name, so libsndfile goes by content alone. It would look for a resource fork without
            # a name in the working directory ("._") and take an MP3 for its other half: it can open no file here.
            sound = soundfile.SoundFile(file, closefd=False)
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
    frames = clipped = 0
    first = last = -1
    peak = squares = 0.0
    content = hashlib.sha256(f"{sound.samplerate}/{sound.channels}".encode())
    limit = frame_limit(sound.channels, sound.samplerate)
    block = numpy.empty((max(1, BLOCK_VALUES // sound.channels), sound.channels), dtype=numpy.float32)
    while True:
        decoded = sound.read(out=block)
        if not len(decoded):
            break
        if not numpy.isfinite(decoded).all():
            return {"refused": "not_finite", "reason": f"around {frames / sound.samplerate:.2f} s"}
        size = numpy.abs(decoded)
        peak = max(peak, float(size.max()))
        squares += float(numpy.square(decoded, dtype=numpy.float64).sum())
        hot = size >= CLIPPED
        clipped += int((hot[1:-1] & hot[:-2] & hot[2:]).sum())
        audible = numpy.flatnonzero(size.max(axis=1) > SILENT)
        if len(audible):
            first = frames + int(audible[0]) if first < 0 else first
            last = frames + int(audible[-1])
        content.update(decoded.tobytes())
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
        "peak": peak,
        "rms": (squares / max(1, frames * sound.channels)) ** 0.5,
        "clipped": clipped,
        "silent_before": frames if first < 0 else first,
        "silent_after": 0 if first < 0 else frames - 1 - last,
        "sound_sha256": content.hexdigest(),
    }


def draw(file: int, columns: int, rows: int) -> dict[str, Any]:
    """What a picture of the open file with the descriptor `file` shows, all channels mixed."""
    try:
        with soundfile.SoundFile(file, closefd=False) as sound:
            if refused := _refusal(sound):
                return refused
            if rows:
                return {"levels": base64.b64encode(_levels(sound, columns, rows).tobytes()).decode()}
            parts = _parts(sound, columns, max(1, min(SEEN, sound.frames // columns)))
            return {"low": parts.min(axis=1).round(3).tolist(), "high": parts.max(axis=1).round(3).tolist()}
    except (soundfile.LibsndfileError, MemoryError) as error:
        return {"refused": "damaged", "reason": str(error)}


def _levels(sound: soundfile.SoundFile, columns: int, rows: int) -> Any:
    """[rows, columns] bytes: Hann-windowed Fourier transforms, on rows of logarithmic frequency."""
    power = numpy.abs(numpy.fft.rfft(_parts(sound, columns, N_FFT) * numpy.hanning(N_FFT))) ** 2
    top = sound.samplerate / 2
    hz = LOWEST_HZ * (top / LOWEST_HZ) ** numpy.linspace(1, 0, rows)
    bins = numpy.minimum(hz / sound.samplerate * N_FFT, N_FFT / 2 - 1e-6)
    low = bins.astype(int)
    part = bins - low
    cells = power[:, low] * (1 - part) + power[:, low + 1] * part
    # High up a row stands for many bins, of which the loudest counts: a tone between two rows is not lost.
    step = (top / LOWEST_HZ) ** (0.5 / (rows - 1))
    for row in range(rows):
        first, last = int(bins[row] / step), int(min(bins[row] * step, N_FFT / 2))
        if last > first + 1:
            cells[:, row] = power[:, first + 1 : last + 1].max(axis=1)
    # A sine at full scale has a quarter of the window's length in its bin.
    decibels = 10 * numpy.log10(cells.T / (N_FFT / 4) ** 2 + 1e-12)
    return (numpy.clip(1 + decibels / RANGE_DB, 0, 1) * 255).round().astype(numpy.uint8)


def _parts(sound: soundfile.SoundFile, columns: int, size: int) -> Any:
    """[columns, size]: mixed samples around the middle of each column's share of the sound, silence beyond its ends."""
    starts = ((numpy.arange(columns) + 0.5) * sound.frames / columns).astype(int) - size // 2
    if sound.frames * sound.channels <= DRAWN_WHOLE or not sound.seekable():
        limit = DRAWN_WHOLE if sound.frames * sound.channels > DRAWN_WHOLE else sound.frames
        mixed = numpy.pad(sound.read(limit, dtype="float32", always_2d=True).mean(axis=1), (size, 2 * size))
        return mixed[numpy.minimum(starts[:, None] + size, len(mixed) - size) + numpy.arange(size)]
    parts = numpy.zeros((columns, size), dtype=numpy.float32)
    for part, start in zip(parts, starts, strict=True):
        sound.seek(max(0, int(start)))
        read = sound.read(size, dtype="float32", always_2d=True).mean(axis=1)
        part[: len(read)] = read
    return parts


def frame_limit(channels: int, sample_rate: int) -> int:
    """Frames that a file of so many channels may have: min(MAX_VALUES / channels, MAX_DURATION_S x rate)."""
    return min(MAX_VALUES // channels, MAX_DURATION_S * sample_rate)


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().removeprefix("Error : ").rstrip(".")


def _limit_process() -> None:
    if os.geteuid() == 0:
        with suppress(KeyError, OSError):
            nobody = pwd.getpwnam("nobody")
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, value in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        # A system that does not know a limit (macOS: address space) refuses to set it; the others still hold.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def _limit_next_file(file: int) -> None:
    """Processor time for the open file with the descriptor `file`, which is the last one that can be open."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (file + 1, OPEN_FILES))


if __name__ == "__main__":
    main()
