"""Sound to features and back without a model: what the representation itself loses.

The baseline goes through log1p mel power, torchaudio's InverseMelScale and GriffinLim(64); ours through `mel_if` (and
`mel`) at the fast setting, and at the best one. Of times the ratio is baseline / ours, of distances (log-spectral
distance in dB, spectral convergence) ours / baseline: below 1 ours is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, get_args

from torch import Tensor

from shared.audio.representation import Quality, make_representation
from shared.config import FeatureConfig, Representation
from tests.benchmarks.corpus import first_seconds, sounds_of
from tests.benchmarks.listening import TorchaudioInverse, convergence, go_through, log_distance_db, magnitude
from tests.benchmarks.measuring import Figures, Options, Results, faster, interleaved, smaller

SOUNDS: Final = 40
TIMED: Final = 4
"""Sounds of a timed turn."""
REPRESENTATIONS: Final[tuple[Representation, ...]] = ("mel_if", "mel")

Way = Callable[[Tensor], Tensor]
"""A waveform [1, 1, S] to what comes back of it."""


def measure(options: Options) -> Results:
    """Distances, and seconds for one of those sounds, at most a second long, analysis included."""
    sounds = first_seconds(sounds_of(options), SOUNDS, padded=False)
    wanted = [magnitude(sound) for sound in sounds]
    usual = usual_way()
    ours = {f"{name}, {quality}": our_way(name, quality) for name in REPRESENTATIONS for quality in get_args(Quality)}
    timed = sounds[:TIMED]
    usual_s, *ours_s = interleaved(*(partial(go_through, way, timed) for way in (usual, *ours.values())))
    before = distances(usual, sounds, wanted)
    results: dict[str, Figures] = {}
    for (name, way), seconds in zip(ours.items(), ours_s, strict=True):
        log_distance, distance = distances(way, sounds, wanted)
        results[f"{name}: distance in dB"] = smaller(before[0], log_distance)
        results[f"{name}: convergence"] = smaller(before[1], distance)
        results[f"{name}: time"] = faster(usual_s / len(timed), seconds / len(timed))
    return results


def usual_way() -> Way:
    """Through `mel` and torchaudio."""
    transform, inverse = make_representation(FeatureConfig()), TorchaudioInverse()
    return lambda sound: inverse.waveform(transform.analyse(sound), sound.shape[-1])


def our_way(representation: Representation, quality: Quality) -> Way:
    """Through our analysis and synthesis."""
    transform = make_representation(FeatureConfig(representation=representation))
    return lambda sound: transform.synthesise(transform.analyse(sound), sound.shape[-1], quality=quality)


def distances(way: Way, sounds: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[float, float]:
    """(log-spectral distance in dB, spectral convergence), means over sounds."""
    pairs = [(right, magnitude(way(sound))) for right, sound in zip(wanted, sounds, strict=True)]
    return (
        statistics.fmean(log_distance_db(*pair) for pair in pairs),
        statistics.fmean(convergence(*pair) for pair in pairs),
    )
