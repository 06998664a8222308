"""What was measured of clips when they came: how loud, how silent, how cut off; and which of them sound the same.

Kept by the hash of a clip's bytes, whichever datasets have it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.record.tables import MeasuredSound


@dataclass(frozen=True, kw_only=True)
class SoundMeasures:
    """Measures of a clip."""

    peak: float
    """Largest absolute sample; 1 is full scale."""
    rms: float
    """Root of the mean square over all samples and channels."""
    clipped: int
    """Samples that lie at full scale between two others that do."""
    silent_before: int
    """Frames under -60 dBFS at the beginning."""
    silent_after: int
    """The same at the end; 0 where all is silence, which then is `silent_before`."""
    sound_sha256: str
    """Hash of the samples: the same in whatever lossless file they are."""


def keep_measures(session: Session, measures: Iterable[tuple[str, SoundMeasures]]) -> None:
    """Keep what was measured, by the hash of each clip."""
    for sha256, one in measures:
        session.merge(MeasuredSound(sha256=sha256, **asdict(one)))


def measures_of(session: Session, dataset_clips: Collection[str]) -> Mapping[str, SoundMeasures]:
    """What is known of clips, by their hashes."""
    found: dict[str, SoundMeasures] = {}
    hashes = sorted(dataset_clips)
    for begin in range(0, len(hashes), 500):
        rows = session.scalars(select(MeasuredSound).where(MeasuredSound.sha256.in_(hashes[begin : begin + 500])))
        for row in rows:
            found[row.sha256] = SoundMeasures(
                peak=row.peak,
                rms=row.rms,
                clipped=row.clipped,
                silent_before=row.silent_before,
                silent_after=row.silent_after,
                sound_sha256=row.sound_sha256,
            )
    return found
