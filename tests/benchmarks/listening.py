"""How near a sound is to another one, and the way from mel back to sound that everybody has: torchaudio's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from shared.audio.torchaudio_compat import import_torchaudio
from shared.config import SpectrogramConfig

CONFIG: Final = SpectrogramConfig()
QUIETEST: Final = 1e-8
"""-80 dB: power below this share of the loudest cell counts as that much."""
ITERATIONS: Final = 64
"""Of the baseline's Griffin-Lim."""
_SMALLEST: Final = 1e-12


def magnitude(waveform: Tensor) -> Tensor:
    """[F, T] of a waveform [1, 1, S]."""
    window = torch.hann_window(CONFIG.n_fft)
    return torch.stft(waveform[0], CONFIG.n_fft, CONFIG.hop_length, window=window, return_complex=True)[0].abs()


def convergence(wanted: Tensor, reached: Tensor) -> float:
    """Spectral convergence of magnitudes: |reached - wanted| / |wanted|, Frobenius norms; 0 is perfect."""
    return float((reached - wanted).norm() / wanted.norm().clamp_min(_SMALLEST))


def log_distance_db(wanted: Tensor, reached: Tensor) -> float:
    """Log-spectral distance of magnitudes: root mean square over bins of the difference in dB, mean over frames."""
    floor = wanted.square().max() * QUIETEST
    powers = wanted.square().clamp_min(floor), reached.square().clamp_min(floor)
    difference = 10 * torch.log10(powers[0] / powers[1])
    return float(difference.square().mean(dim=0).sqrt().mean())


def mean_convergence(wanted: Sequence[Tensor], given: Sequence[Tensor], way: Callable[[Tensor], Tensor]) -> float:
    """Mean spectral convergence of the magnitudes that `way` makes of each of `given`."""
    return statistics.fmean(convergence(right, way(each)) for right, each in zip(wanted, given, strict=True))


def go_through(way: Callable[[Tensor], Tensor], given: Sequence[Tensor]) -> None:
    """Send each of `given` on its way."""
    for each in given:
        way(each)


class TorchaudioInverse:
    """InverseMelScale and GriffinLim of torchaudio, as they come, for log1p mel power."""

    def __init__(self) -> None:
        transforms = import_torchaudio().transforms
        self._inverse = transforms.InverseMelScale(
            n_stft=CONFIG.n_fft // 2 + 1, n_mels=CONFIG.n_mels, sample_rate=CONFIG.sample_rate
        )
        self._griffin_lim = transforms.GriffinLim(n_fft=CONFIG.n_fft, hop_length=CONFIG.hop_length, n_iter=ITERATIONS)

    def power(self, mel_power: Tensor) -> Tensor:
        """Linear power [B, F, T] of mel power [B, n_mels, T]."""
        return self._inverse(mel_power)

    def waveform(self, log_mel: Tensor, num_samples: int = CONFIG.sample_rate) -> Tensor:
        """Waveform [1, 1, num_samples] of log1p mel power [1, 1, n_mels, T]."""
        torch.manual_seed(0)  # of its first phases
        self._griffin_lim.length = num_samples
        return self._griffin_lim(self.power(torch.expm1(log_mel[:, 0]))).unsqueeze(1)
