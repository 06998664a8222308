"""Log-mel power spectrograms and back.

    waveform [B, 1, S]  --waveform_to_mel-->  log1p mel power [B, 1, n_mels, T]  --mel_to_waveform-->  waveform

T = S // hop_length + 1: one second at 48 kHz gives 94 frames. The way back undoes log1p, inverts the filterbank
and recovers the phase by fast Griffin-Lim from a first phase that the magnitudes suggest; it runs on the CPU,
whichever device the features come from, so that the same features sound the same everywhere, and one example at a
time, so that they sound the same in every batch (and an example's spectrum stays in the processor's cache).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.audio.fourier import FourierFrames
from shared.audio.griffin_lim import griffin_lim
from shared.audio.mel import BandSums, MelInverse, mel_filterbank
from shared.audio.phase import first_phase, frequency_offsets, log_magnitude
from shared.config import SpectrogramConfig

LARGEST_LOG: Final = 30.0
"""Features are limited to this before expm1: far above any sound (12.5 is a full-scale sine), far from overflow."""

UPDATES: Final = 8
"""Of the filterbank's inversion: beside phase recovery even these cost little."""

GROUP: Final = 16
"""Bands that are summed together: more would multiply with more zeros, fewer would be more products."""

_SMALLEST: Final = 1e-12


class AudioSpectrogram(nn.Module):
    """The transform pair for one configuration. Analysis runs on the module's device."""

    filterbank: Tensor

    def __init__(self, config: SpectrogramConfig | None = None) -> None:
        super().__init__()
        self.config = SpectrogramConfig() if config is None else config
        self.fourier = FourierFrames(self.config.n_fft, self.config.hop_length)
        bank = mel_filterbank(self.config)
        self.register_buffer("filterbank", bank, persistent=False)
        self.inverse = MelInverse(bank)
        # A bin's real and imaginary part, squared, count the same: its power needs no sum of its own.
        self._power_bands = BandSums(bank.repeat_interleave(2, dim=1), group=GROUP)
        self._cpu_fourier = (FourierFrames(self.config.n_fft, self.config.hop_length),)
        """In a tuple, so that moving the module leaves it on the CPU."""

    def get_mel_shape(self, num_samples: int) -> tuple[int, int]:
        """(n_mels, T) for `num_samples` samples, T = num_samples // hop_length + 1."""
        return self.config.n_mels, self.config.frames(num_samples)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Complex spectrum [B, F, T] of `waveform` [B, 1, S], S >= 1."""
        return self.fourier.analyse(_checked(waveform))

    def spectrum_blocks(self, waveform: Tensor) -> Iterator[Tensor]:
        """The same in pieces along T."""
        return self.fourier.blocks(_checked(waveform))

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """log1p of mel power, [B, 1, n_mels, T] float32 >= 0, of `waveform` [B, 1, S] in [-1, 1], S >= 1."""
        blocks = [self._banded_power(spectrum.mT) for spectrum in self.spectrum_blocks(waveform)]
        return torch.cat(blocks, dim=1).log1p_().mT.unsqueeze(1)

    def _banded_power(self, frames: Tensor) -> Tensor:
        """[B, T, n_mels] of complex `frames` [B, T, F], on their device; their memory is used up."""
        if frames.device.type != "cpu":
            return (self.filterbank @ power(frames).mT).mT
        return self._power_bands(torch.view_as_real(frames).flatten(-2).square_())

    def bands(self, bins: Tensor) -> Tensor:
        """Sums over bands [B, n_mels, T] of real values [B, F, T], on their device."""
        return self.inverse.collect(bins) if bins.device.type == "cpu" else self.filterbank @ bins

    def mel_to_waveform(self, mel: Tensor, num_samples: int | None = None, *, iterations: int = 14) -> Tensor:
        """Waveform [B, 1, num_samples], float32 on the device of `mel` [B, 1, n_mels, T].

        Without `num_samples` its length is (T - 1) * hop_length: 94 frames give 47,616 samples. Values below 0,
        which a linear decoder may give, count as silence, and so do those that are not numbers.
        """
        magnitudes = self.inverse(from_log1p(mel[:, 0]), updates=UPDATES).sqrt_()
        sounds = [self.recover(each, None, num_samples, iterations=iterations) for each in magnitudes]
        return torch.stack(sounds).to(mel.device)

    def recover(
        self, magnitude: Tensor, deviation: Tensor | None, num_samples: int | None, *, iterations: int
    ) -> Tensor:
        """Waveform [1, num_samples] on the CPU from magnitudes [F, T] on the CPU.

        `deviation` [n_mels, T]: the mean distance in bins of what a band holds from its bins' own frequencies, where
        it is known; elsewhere it is 0.
        """
        log = log_magnitude(magnitude)
        offsets = frequency_offsets(log)
        if deviation is not None:
            offsets += self._correction(magnitude, offsets, deviation)
        config = self.config
        phase = first_phase(magnitude, log, offsets, n_fft=config.n_fft, hop_length=config.hop_length)
        shortest = (magnitude.shape[-1] - 1) * config.hop_length
        wanted = shortest if num_samples is None else num_samples
        # T frames describe shortest .. shortest + hop - 1 samples; any other length is cut or filled with silence.
        described = max(1, min(max(wanted, shortest), shortest + config.hop_length - 1))
        fourier = self._cpu_fourier[0]
        waveform = griffin_lim(fourier, magnitude[None], phase[None], described, iterations=iterations)[:, :wanted]
        return functional.pad(waveform, (0, wanted - waveform.shape[-1]))

    def _correction(self, magnitude: Tensor, offsets: Tensor, deviation: Tensor) -> Tensor:
        """What to add to `offsets` [F, T] so that their means over bands, weighted by energy, are `deviation`."""
        energy = magnitude.square()
        means = self.inverse.collect(energy * offsets) / self.inverse.collect(energy).clamp_min_(_SMALLEST)
        return self.inverse.spread(torch.where(deviation == 0, 0.0, deviation - means))


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude of a complex `spectrum`; without the square root that `abs` takes first."""
    return spectrum.real.square() + spectrum.imag.square()


def _checked(waveform: Tensor) -> Tensor:
    """`waveform` [B, 1, S] as float32 [B, S]."""
    if waveform.ndim != 3 or waveform.shape[1] != 1 or waveform.shape[2] == 0:
        raise ValueError(f"waveform must have the shape [batch, 1, samples], not {list(waveform.shape)}")
    return waveform[:, 0].float()


def from_log1p(features: Tensor) -> Tensor:
    """expm1 of `features`, float32 on the CPU, finite and never negative whatever a model gave."""
    finite = torch.nan_to_num(features.detach().to("cpu", torch.float32), nan=0.0)
    return torch.expm1(finite.clamp(0.0, LARGEST_LOG))
