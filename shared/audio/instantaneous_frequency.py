"""Mel magnitude with instantaneous frequency, and back.

    waveform [B, 1, S]  --waveform_to_mel_if-->  [B, 2, n_mels, T]  --mel_if_to_waveform-->  waveform

Channel 0 is log1p of the mel magnitude. Channel 1 says by how much the sound in a band is higher or lower than
the bins it falls into. With X the spectrum, bin k turns by 2 pi hop k / n_fft from one frame to the next when it
holds exactly its own frequency; what it turns beyond that,

    deviation[k, t] = arg(X[k, t] conj X[k, t-1] exp(-2 pi i hop k / n_fft)) / pi,

lies in (-1, 1], where 1 stands for sample_rate / (2 hop_length) Hz (46.9 Hz at 48 kHz and a hop of 512), the
largest deviation that two frames can tell. A band's value is the mean over its bins weighted by energy, taken on
the circle, so that values near the two ends do not cancel. (Phase vocoder: J. Flanagan and R. Golden, 1966.)

On the way back a band no wider than a bin names the frequency of what it holds, which the first phase then runs on
with. A wider one holds several sounds, or one whose place its neighbours' magnitudes tell as well.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from shared.audio.spectrogram import UPDATES, AudioSpectrogram, from_log1p, power
from shared.config import SpectrogramConfig

NARROW_BINS: Final = 1.2
"""Sum of a band's weights up to which it counts as no wider than a bin."""


class MelInstantaneousFrequency(AudioSpectrogram):
    """The transform pair for one configuration.

    `mask_threshold`: channel 1 is 0 where the mel magnitude is below this share of the clip's peak.
    """

    def __init__(self, config: SpectrogramConfig | None = None, *, mask_threshold: float = 0.01) -> None:
        super().__init__(config)
        self.mask_threshold = mask_threshold
        self._narrow = (self.filterbank.sum(dim=1, keepdim=True) <= NARROW_BINS).float()
        """[n_mels, 1], 0 or 1, on the CPU."""

    def waveform_to_mel_if(self, waveform: Tensor) -> Tensor:
        """[B, 2, n_mels, T] float32 of `waveform` [B, 1, S]: channel 0 >= 0, channel 1 in [-1, 1], 0 in frame 0."""
        back = self._own_turn(waveform.device).conj()
        magnitudes: list[Tensor] = []
        deviations: list[Tensor] = []
        before: Tensor | None = None
        for block in self.spectrum_blocks(waveform):
            spectrum = block.contiguous()
            magnitudes.append(self.bands(power(spectrum).sqrt_()))
            # Frame 0 has no frame before it: a turn of 0.
            earlier = torch.zeros_like(spectrum[..., :1]) if before is None else before
            turns = torch.cat([earlier, spectrum[..., :-1]], dim=-1).conj().mul(spectrum).mul_(back)
            banded = self.bands(torch.view_as_real(turns).flatten(-2)).unflatten(-1, (-1, 2))
            deviations.append(torch.view_as_complex(banded).angle().div_(torch.pi))
            before = spectrum[..., -1:]
        magnitude, deviation = torch.cat(magnitudes, dim=-1), torch.cat(deviations, dim=-1).clamp_(-1.0, 1.0)
        peak = magnitude.amax(dim=(-2, -1), keepdim=True)
        heard = (magnitude >= self.mask_threshold * peak) & (magnitude > 0)
        return torch.stack([torch.log1p(magnitude), torch.where(heard, deviation, 0.0)], dim=1)

    def mel_if_to_waveform(self, features: Tensor, num_samples: int | None = None, *, iterations: int = 14) -> Tensor:
        """Waveform [B, 1, num_samples], float32 on the device of `features` [B, 2, n_mels, T].

        Without `num_samples` its length is (T - 1) * hop_length. Any value is taken: what lies outside the
        channels' ranges is limited to them.
        """
        magnitudes = self.inverse(from_log1p(features[:, 0]), updates=UPDATES)
        frequency = torch.nan_to_num(features[:, 1].detach().to("cpu", torch.float32)).clamp(-1.0, 1.0)
        # Half a turn in a hop, which is what 1 stands for, is this many bins.
        deviations = self._narrow * frequency * (0.5 * self.config.n_fft / self.config.hop_length)
        pairs = zip(magnitudes, deviations, strict=True)
        sounds = [self.recover(*pair, num_samples, iterations=iterations) for pair in pairs]
        return torch.stack(sounds).to(features.device)

    def _own_turn(self, device: torch.device) -> Tensor:
        """exp(2 pi i hop k / n_fft) [F, 1]: how far each bin's own frequency turns in one hop."""
        bins = torch.arange(self.config.n_fft // 2 + 1, device=device)
        # The remainder is exact in integers and keeps the angle small, where float32 is precise.
        steps = torch.remainder(bins * self.config.hop_length, self.config.n_fft)
        angle = (2 * torch.pi / self.config.n_fft) * steps.float()
        return torch.polar(torch.ones_like(angle), angle)[:, None]
