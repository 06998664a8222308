"""Log-mel power spectrograms and back.

    waveform [B, 1, S]  --waveform_to_mel-->  log1p mel power [B, 1, n_mels, T]  --mel_to_waveform-->  waveform

T = S // hop_length + 1: one second at 48 kHz gives 94 frames. The way back undoes log1p, inverts the filterbank
and recovers the phase by fast Griffin-Lim; it runs on the CPU, whichever device the features come from, so that
the same features sound the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.audio.fourier import FourierFrames
from shared.audio.griffin_lim import griffin_lim, random_phase
from shared.audio.mel import MelInverse, mel_filterbank
from shared.config import SpectrogramConfig

LARGEST_LOG: Final = 30.0
"""Features are limited to this before expm1: far above any sound (12.5 is a full-scale sine), far from overflow."""


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
        blocks = [self.filterbank @ spectrum.abs().square() for spectrum in self.spectrum_blocks(waveform)]
        return torch.log1p(torch.cat(blocks, dim=-1)).unsqueeze(1)

    def mel_to_waveform(self, mel: Tensor, num_samples: int | None = None, *, iterations: int = 32) -> Tensor:
        """Waveform [B, 1, num_samples], float32 on the device of `mel` [B, 1, n_mels, T].

        Without `num_samples` its length is (T - 1) * hop_length: 94 frames give 47,616 samples. Values below 0,
        which a linear decoder may give, count as silence, and so do those that are not numbers.
        """
        power = self.inverse(from_log1p(mel[:, 0]))
        return self.recover(power.sqrt(), random_phase(power.shape), num_samples, iterations=iterations).to(mel.device)

    def recover(self, magnitude: Tensor, phase: Tensor, num_samples: int | None, *, iterations: int) -> Tensor:
        """Waveform [B, 1, num_samples] on the CPU from magnitudes and first phases [B, F, T] on the CPU."""
        shortest = (magnitude.shape[-1] - 1) * self.config.hop_length
        wanted = shortest if num_samples is None else num_samples
        # T frames describe shortest .. shortest + hop - 1 samples; any other length is cut or filled with silence.
        described = max(1, min(max(wanted, shortest), shortest + self.config.hop_length - 1))
        waveform = griffin_lim(self._cpu_fourier[0], magnitude, phase, described, iterations=iterations)[:, :wanted]
        return functional.pad(waveform, (0, wanted - waveform.shape[-1])).unsqueeze(1)


def _checked(waveform: Tensor) -> Tensor:
    """`waveform` [B, 1, S] as float32 [B, S]."""
    if waveform.ndim != 3 or waveform.shape[1] != 1 or waveform.shape[2] == 0:
        raise ValueError(f"waveform must have the shape [batch, 1, samples], not {list(waveform.shape)}")
    return waveform[:, 0].float()


def from_log1p(features: Tensor) -> Tensor:
    """expm1 of `features`, float32 on the CPU, finite and never negative whatever a model gave."""
    finite = torch.nan_to_num(features.detach().to("cpu", torch.float32), nan=0.0)
    return torch.expm1(finite.clamp(0.0, LARGEST_LOG))
