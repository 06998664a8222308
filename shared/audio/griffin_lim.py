"""Phase recovery: a waveform whose spectrogram has given magnitudes.

Fast Griffin-Lim: N. Perraudin, P. Balazs and P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
Each iteration makes the spectrum consistent (waveform and back), steps beyond it by the momentum, and puts the
wanted magnitudes back.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from shared.audio.fourier import FourierFrames

MOMENTUM: Final = 0.99
"""Of the fast algorithm; 0 would be the classic one, above 1 it need not converge."""

_SMALLEST: Final = 1e-32
"""Of squared magnitudes."""


def griffin_lim(
    fourier: FourierFrames, magnitude: Tensor, phase: Tensor, num_samples: int, *, iterations: int
) -> Tensor:
    """Waveform [B, num_samples], float32, from `magnitude` [B, F, T] >= 0 and a first `phase` [B, F, T] in radians.

    T must be num_samples // hop_length + 1. With 0 iterations the first phase is taken as it is.
    """
    keep = MOMENTUM / (1 + MOMENTUM)
    # Frame by frame in memory, like every spectrum.
    magnitude, phase = magnitude.mT.contiguous().mT, phase.mT.contiguous().mT
    spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
    previous: Tensor | None = None
    for _ in range(iterations):
        rebuilt = fourier.analyse(fourier.synthesise(spectrum, num_samples))
        ahead = rebuilt if previous is None else torch.sub(rebuilt, previous, alpha=keep)
        power = (ahead * ahead.conj()).real
        spectrum = ahead * power.clamp_min(_SMALLEST).rsqrt_().mul_(magnitude)
        previous = rebuilt
    return fourier.synthesise(spectrum, num_samples)
