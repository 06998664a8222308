"""One second of sound for a preview: torchaudio's InverseMelScale and GriffinLim(64), and our fast setting.

Both start from features of real sounds, one sound at a time, as a preview is made. Convergence is that of the
magnitudes of the sound that came out; a faster way counts only where it is no worse.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from shared.audio.representation import make_representation
from shared.config import FeatureConfig, Representation
from tests.benchmarks.corpus import first_seconds, sounds_of
from tests.benchmarks.listening import CONFIG, TorchaudioInverse, go_through, magnitude, mean_convergence
from tests.benchmarks.measuring import Options, Results, faster, interleaved

SOUNDS: Final = 40
TIMED: Final = 4
"""Sounds of a timed turn."""
REPRESENTATIONS: Final[tuple[Representation, ...]] = ("mel", "mel_if")


def measure(options: Options) -> Results:
    """Seconds for a second of sound; ratio = baseline / ours."""
    sounds = first_seconds(sounds_of(options), SOUNDS)
    wanted = [magnitude(sound) for sound in sounds]
    transforms = {name: make_representation(FeatureConfig(representation=name)) for name in REPRESENTATIONS}
    features = {name: [transform.analyse(sound) for sound in sounds] for name, transform in transforms.items()}
    ways = {
        "torchaudio": (TorchaudioInverse().waveform, features["mel"]),
        **{
            name: (partial(transform.synthesise, num_samples=CONFIG.sample_rate), features[name])
            for name, transform in transforms.items()
        },
    }
    seconds = interleaved(*(partial(go_through, way, given[:TIMED]) for way, given in ways.values()))
    took = {name: each / len(sounds[:TIMED]) for name, each in zip(ways, seconds, strict=True)}
    reached = {
        name: mean_convergence(wanted, given, lambda each, way=way: magnitude(way(each)))
        for name, (way, given) in ways.items()
    }
    return {
        name: faster(
            took["torchaudio"],
            took[name],
            baseline_convergence=reached["torchaudio"],
            ours_convergence=reached[name],
        )
        for name in REPRESENTATIONS
    }
