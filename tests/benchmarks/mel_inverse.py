"""From mel power to linear power: torchaudio's InverseMelScale, which solves least squares on every call, and ours.

On one second at a time, as previews need it, and on a batch. Convergence is that of the linear magnitudes.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch

from shared.audio.spectrogram import AudioSpectrogram
from tests.benchmarks.corpus import first_seconds, sounds_of
from tests.benchmarks.listening import TorchaudioInverse, go_through, magnitude, mean_convergence
from tests.benchmarks.measuring import Options, Results, faster, interleaved

SECONDS: Final = 40
"""Sounds that are measured, of one second each."""


def measure(options: Options) -> Results:
    """Seconds; ratio = baseline / ours."""
    transform, baseline = AudioSpectrogram(), TorchaudioInverse()
    sounds = first_seconds(sounds_of(options), SECONDS)
    mels = [torch.expm1(transform.waveform_to_mel(sound)[:, 0]) for sound in sounds]
    together = torch.cat(mels)
    wanted = [magnitude(sound) for sound in sounds]
    reached = {
        "baseline_convergence": mean_convergence(wanted, mels, lambda mel: baseline.power(mel)[0].sqrt()),
        "ours_convergence": mean_convergence(wanted, mels, lambda mel: transform.inverse(mel)[0].sqrt()),
    }
    one_by_one = interleaved(partial(go_through, baseline.power, mels), partial(go_through, transform.inverse, mels))
    batch = interleaved(lambda: baseline.power(together), lambda: transform.inverse(together))
    return {
        "one second": faster(*(each / len(mels) for each in one_by_one), **reached),
        f"{len(mels)} seconds at once": faster(*batch, **reached),
    }
