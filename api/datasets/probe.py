"""Probing an uploaded file: is it a sound, which one, and is it whole?

The decoding is done in a process with limits (`api.datasets.limited`). A file that brings it down or keeps it busy for
too long is refused by name; the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from api.datasets.completeness import missing_bytes
from api.datasets.limited import CHILD, TIMEOUT_S, LimitedDecoder
from api.record.sounds import SoundMeasures
from shared.config import MIN_CLIP_SAMPLES
from shared.errors import AudioError


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
    measures: SoundMeasures


class AudioProbe:
    """Probes one file at a time; threads take turns. `close` ends its process."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, child: Path = CHILD) -> None:
        self._decoder = LimitedDecoder(timeout_s=timeout_s, child=child)

    def probe(self, path: Path, name: str) -> ProbedSound:
        """What the file at `path`, which the person calls `name`, holds; raises AudioError with the reason."""
        if path.stat().st_size == 0:
            raise AudioError(f"{name} is empty.", file_name=name)
        answer = self._decoder.ask(path)
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
            measures=SoundMeasures(**{field.name: answer[field.name] for field in fields(SoundMeasures)}),
        )

    def close(self) -> None:
        """End the process; a later probe starts another."""
        self._decoder.close()


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
