"""Mel filterbank and its non-negative inverse.

    linear [B, F, T]  --filterbank-->  mel [B, n_mels, T]  --MelInverse-->  linear [B, F, T] >= 0

Triangles on the HTK mel scale, peak 1. With many bands some triangles fall between two bins and are empty, and
the bank loses rank; the inverse takes that as it comes. It minimises the generalised Kullback-Leibler divergence
between the wanted and the reached mel values by multiplicative updates (D. Lee and S. Seung, "Algorithms for
non-negative matrix factorization", 2001; with a fixed bank it is the Richardson-Lucy iteration), which keep
every value non-negative and weigh relative errors, as ears and log spectra do.
"""

from __future__ import annotations

import warnings
from typing import Final

import torch
from torch import Tensor

from shared.audio.torchaudio_compat import import_torchaudio
from shared.config import SpectrogramConfig

_SMALLEST: Final = 1e-12


def mel_filterbank(config: SpectrogramConfig) -> Tensor:
    """Weights [n_mels, F], float32, in [0, 1], F = n_fft // 2 + 1."""
    torchaudio = import_torchaudio()
    with warnings.catch_warnings():
        # Empty bands are harmless here: their feature is always 0.
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            n_freqs=config.n_fft // 2 + 1,
            f_min=config.f_min,
            f_max=config.f_max_hz,
            n_mels=config.n_mels,
            sample_rate=config.sample_rate,
        )
    return bank.T.contiguous()


class MelInverse:
    """Inverse of one filterbank [n_mels, F]; what does not depend on the sound is computed once, on the CPU."""

    def __init__(self, filterbank: Tensor) -> None:
        self._bank = filterbank.detach().to("cpu", torch.float32)
        """[n_mels, F]"""
        column = self._bank.sum(dim=0)[:, None]
        self._spread = torch.where(column > 0, self._bank.T / column.clamp_min(_SMALLEST), 0.0)
        """[F, n_mels]: the transposed bank, each bin's weights summing to 1, or all 0 where no band covers it"""
        row = self._bank.sum(dim=1)[:, None]
        self._per_bin = torch.where(row > 0, 1 / row.clamp_min(_SMALLEST), 0.0)
        """[n_mels, 1]: turns a band's sum into its mean over bins"""

    def __call__(self, mel: Tensor, *, iterations: int = 30) -> Tensor:
        """Non-negative [B, F, T] float32 on the CPU whose mel values come near `mel` [B, n_mels, T] >= 0."""
        wanted = mel.detach().to("cpu", torch.float32)
        linear = self._spread @ (wanted * self._per_bin)
        for _ in range(iterations):
            reached = self._bank @ linear
            linear = linear * (self._spread @ (wanted / reached.clamp_min(_SMALLEST)))
        return linear

    def spread(self, band_values: Tensor) -> Tensor:
        """Band values [B, n_mels, T] carried to bins [B, F, T]: each bin takes the mean of the bands above it."""
        return self._spread @ band_values
