"""Mel filterbank and its non-negative inverse.

    linear [B, F, T]  --filterbank-->  mel [B, n_mels, T]  --MelInverse-->  linear [B, F, T] >= 0

Triangles on the HTK mel scale, peak 1. With many bands some triangles fall between two bins and are empty, and
the bank loses rank; the inverse takes that as it comes. It minimises a divergence between the wanted and the
reached mel values by multiplicative updates (D. Lee and S. Seung, "Algorithms for non-negative matrix
factorization", 2001; with a fixed bank and an exponent of 1 it is the Richardson-Lucy iteration), which keep every
value non-negative and weigh relative errors, as ears and log spectra do. An exponent of 3/2 takes larger steps.

A bin lies in two triangles at most, so all but two in n_mels of the bank's weights are zeros: products with it add
up a few rows each, or, where frames lie one after the other, are small dense ones of neighbouring bands.
"""

from __future__ import annotations

import warnings
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from shared.audio.torchaudio_compat import import_torchaudio
from shared.config import SpectrogramConfig

UPDATES: Final = 2
"""Bring most of what many would, on mel values of real sounds."""

_SMALLEST: Final = 1e-12
_LARGEST_STEP: Final = 1e6
"""Mel values that contradict each other must not drive a bin out of float32."""
_QUIETEST: Final = 1e-16
_SMALLEST_STEP: Final = 1e-6
"""Both keep numbers away from those below the smallest normal float32, for which a processor takes far longer."""


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


class SparseProduct:
    """Product with one matrix [R, C] that is mostly zeros, on the CPU.

    As a weighted sum of embeddings: several times as fast as torch's sparse matrices, and nothing in it is beta.
    """

    def __init__(self, matrix: Tensor) -> None:
        matrix = matrix.detach().to("cpu", torch.float32)
        kept = matrix != 0
        per_row = kept.sum(dim=1)
        self._columns = kept.nonzero()[:, 1].contiguous()
        self._begins = per_row.cumsum(dim=0) - per_row
        self._weights = matrix[kept]

    def __call__(self, values: Tensor) -> Tensor:
        """[..., R, N] of `values` [..., C, N], float32. Each example is computed alone: no other one changes it."""
        if values.ndim > 2:
            return torch.stack([self(each) for each in values])
        return functional.embedding_bag(
            self._columns, values.contiguous(), self._begins, mode="sum", per_sample_weights=self._weights
        )


class BandSums:
    """Products of frames [N, C] with the transpose of one matrix [R, C] whose rows each reach over few columns.

    Neighbouring rows reach over nearly the same columns: each group of them is a small dense product. Frames need not
    be turned round for it, as `SparseProduct` needs them to be.
    """

    def __init__(self, matrix: Tensor, *, group: int) -> None:
        self._parts: list[tuple[slice, Tensor]] = []
        for rows in matrix.detach().to("cpu", torch.float32).split(group):
            reached = rows.any(dim=0).nonzero()
            first, end = (int(reached[0]), int(reached[-1]) + 1) if len(reached) else (0, 1)
            self._parts.append((slice(first, end), rows[:, first:end].T.contiguous()))

    def __call__(self, frames: Tensor) -> Tensor:
        """[..., N, R] of `frames` [..., N, C], float32 on the CPU; each example is computed alone."""
        if frames.ndim > 2:
            return torch.stack([self(each) for each in frames])
        return torch.cat([frames[:, columns] @ weights for columns, weights in self._parts], dim=1)


class MelInverse:
    """Inverse of one filterbank [n_mels, F]; what does not depend on the sound is computed once, on the CPU."""

    def __init__(self, filterbank: Tensor) -> None:
        bank = filterbank.detach().to("cpu", torch.float32)
        self._bins = bank.shape[1]
        column = bank.sum(dim=0)[:, None]
        row = bank.sum(dim=1)[:, None]
        self.collect = SparseProduct(bank)
        """[F, T] to band sums [n_mels, T]"""
        self.spread = SparseProduct(torch.where(column > 0, bank.T / column.clamp_min(_SMALLEST), 0.0))
        """[n_mels, T] to bins [F, T]: each bin takes the mean of the bands above it, 0 where no band covers it"""
        self._per_bin = torch.where(row > 0, 1 / row.clamp_min(_SMALLEST), 0.0)
        """[n_mels, 1]: turns a band's sum into its mean over bins"""

    def __call__(self, mel: Tensor, *, updates: int = UPDATES) -> Tensor:
        """Non-negative [B, F, T] float32 on the CPU whose mel values come near `mel` [B, n_mels, T].

        Values of 1e-12 and less count as silence. Raises ValueError for less than one update.
        """
        if updates < 1:
            raise ValueError(f"at least one update is needed, not {updates}")
        wanted = mel.detach().to("cpu", torch.float32).contiguous()
        linear = wanted.new_empty(wanted.shape[0], self._bins, wanted.shape[2])
        # One at a time, in memory that the processor's cache still holds from the one before.
        for each, place in zip(wanted, linear, strict=True):
            self._invert(each, updates, place)
        return linear

    def _invert(self, wanted: Tensor, updates: int, place: Tensor) -> None:
        """Write the inverse of `wanted` [n_mels, T] to `place` [F, T].

        What is silent begins just above it, since a processor takes long for a logarithm or a root of 0, and is 0 after
        the first update.
        """
        audible = (wanted - _SMALLEST).sign_().clamp_min_(0.0)
        # Begun with means of logarithms: between a loud band and a quiet one they fall as steeply as sound does.
        linear = self.spread((wanted * self._per_bin).clamp_min_(_QUIETEST).log_()).exp_()
        for update in range(updates):
            ratio = wanted / self.collect(linear).clamp_min_(_SMALLEST)
            ratio.clamp_(_SMALLEST_STEP, _LARGEST_STEP)
            step = self.spread(ratio.mul_(ratio.sqrt()).mul_(audible))
            torch.mul(linear, step, out=place if update == updates - 1 else linear)
