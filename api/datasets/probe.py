"""Probing an uploaded file: is it a sound, which one, and is it whole?

The decoding is done by `probe_child` in one process with limits, which is started at the first file, reused for
the next ones and started anew when a file brought it down or kept it busy for too long. That file is refused by
name; the others go on.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.datasets.completeness import missing_bytes
from shared.config import MIN_CLIP_SAMPLES
from shared.errors import AudioError, ServiceError

CHILD: Final = Path(__file__).with_name("probe_child.py")
TIMEOUT_S: Final = 180.0
"""Wall-clock time for one file; the child's own limit of processor time is shorter."""
_CHUNK_BYTES: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class ProbedSound:
    """What a file holds."""

    num_samples: int
    """Samples per channel at the file's own rate."""
    sample_rate: int
    """Hz."""
    channels: int
    format: str
    """Container and encoding, such as "FLAC PCM_16"."""


class AudioProbe:
    """Probes one file at a time; threads take turns. `close` ends its process."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, child: Path = CHILD) -> None:
        self._timeout_s = timeout_s
        self._child = child
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def probe(self, path: Path, name: str) -> ProbedSound:
        """What the file at `path`, which the person calls `name`, holds; raises AudioError with the reason."""
        if path.stat().st_size == 0:
            raise AudioError(f"{name} is empty.", file_name=name)
        with self._lock:
            answer = self._ask(path)
        refused = answer.get("refused")
        if refused is not None:
            raise AudioError(_sentence(name, refused, answer["reason"]), file_name=name)
        missing = missing_bytes(path)
        if missing:
            raise AudioError(
                f"{name} is cut off: {missing:,} of its bytes are missing; copy or export it again.", file_name=name
            )
        if answer["frames"] < MIN_CLIP_SAMPLES:
            raise AudioError(
                f"{name} is too short: it has {answer['frames']:,} samples, and at least {MIN_CLIP_SAMPLES:,} are "
                "needed.",
                file_name=name,
            )
        return ProbedSound(
            num_samples=answer["frames"],
            sample_rate=answer["sample_rate"],
            channels=answer["channels"],
            format=f"{answer['format']} {answer['subtype']}",
        )

    def close(self) -> None:
        """End the process; a later probe starts another."""
        with self._lock:
            self._end()

    def _ask(self, path: Path) -> dict[str, Any]:
        request = json.dumps({"path": str(path)}).encode() + b"\n"
        while True:
            process, fresh = self._started()
            answer = self._exchange(process, request)
            if answer is not None:
                return answer
            status = self._end()
            # One that was idle for long ends by itself, perhaps at this very moment: ask another.
            if status == 0 and not fresh:
                continue
            if status == 0:
                raise ServiceError("The process that reads uploaded files does not start: see the api's log.")
            slow = status in (-signal.SIGXCPU, -signal.SIGKILL)
            return {"refused": "slow" if slow else "crashed", "reason": ""}

    def _started(self) -> tuple[subprocess.Popen[bytes], bool]:
        """The process, and whether it is a new one."""
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self._end()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(self._child)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        return self._process, True

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes) -> dict[str, Any] | None:
        """The process's answer; None where it ended without one or had to be killed."""
        requests, answers = process.stdin, process.stdout
        if requests is None or answers is None:
            return None
        try:
            requests.write(request)
        except BrokenPipeError:
            return None
        deadline = time.monotonic() + self._timeout_s
        line = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    process.kill()
                    return None
                chunk = answers.read(_CHUNK_BYTES)
                if not chunk:
                    return None
                line += chunk
        return json.loads(line)

    def _end(self) -> int:
        """End the process where there is one, and give its exit status; 0 where there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _sentence(name: str, refused: str, reason: str) -> str:
    return _SENTENCES.get(refused, _SENTENCES["crashed"]).format(name=name, reason=reason)


_SENTENCES: Final = {
    "unreadable": "{name} is not an audio file that can be read (WAV, FLAC, OGG, AIFF, MP3 …): {reason}.",
    "damaged": "{name} is damaged: {reason}. Copy or export it again.",
    "too_long": "{name} is too long ({reason}): cut it into files of at most 2 hours.",
    "channels": "{name} has {reason}: export it with fewer.",
    "rate": "{name} has {reason}, which cannot be used: export it at 44,100 or 48,000 Hz.",
    "not_finite": "{name} has samples that are no numbers (NaN or infinity) {reason}: export it again.",
    "slow": "{name} takes too long to decode, so it is refused: export it as WAV or FLAC.",
    "crashed": "{name} makes the decoder crash, so it is refused: export it again as WAV or FLAC.",
}
