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

_SMALLEST: Final = 1e-16


def griffin_lim(
    fourier: FourierFrames, magnitude: Tensor, phase: Tensor, num_samples: int, *, iterations: int
) -> Tensor:
    """Waveform [B, num_samples], float32, from `magnitude` [B, F, T] >= 0 and a first `phase` [B, F, T] in radians.

    T must be num_samples // hop_length + 1. With 0 iterations the first phase is taken as it is.
    """
    keep = MOMENTUM / (1 + MOMENTUM)
    angles = torch.polar(torch.ones_like(magnitude), phase)
    previous = torch.zeros_like(angles)
    for _ in range(iterations):
        rebuilt = fourier.analyse(fourier.synthesise(magnitude * angles, num_samples))
        ahead = rebuilt - keep * previous
        angles = ahead / ahead.abs().clamp_min(_SMALLEST)
        previous = rebuilt
    return fourier.synthesise(magnitude * angles, num_samples)


def random_phase(shape: torch.Size, *, seed: int = 0) -> Tensor:
    """Uniform phases in [0, 2 pi), float32 on the CPU, for the same shape and seed always the same.

    Every example along the first axis gets the same ones, so that it sounds alike in every batch.
    """
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape[1:], generator=generator) * (2 * torch.pi)).expand(shape)
