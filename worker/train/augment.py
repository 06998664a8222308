"""White noise mixed into features, as if it had been mixed into the sound before its analysis.

    features [B, C, M, T], RMS of the noise [B]  --WhiteNoise.mix-->  features of sound and noise, the same shape

White noise with a root mean square of r has the expected power P = r^2 * sum(window^2) in every bin of the
spectrum, and the expected magnitude sqrt(pi P) / 2 (Rayleigh). A band that weighs its bins by w_k expects P * sum(w)
of it, or sqrt(pi P) / 2 * sum(w). What it gets varies from cell to cell: the more bins, the less. With rho the
correlation of neighbouring bins, which the window decides, the variance by the squared mean is

    v = v_1 * sum_kl(w_k w_l rho_kl^2) / sum(w)^2,   v_1 = 1 for power (exponential), 4 / pi - 1 for magnitude,

and a gamma distribution of that mean and variance is drawn from, by the cube of a normal number (E. Wilson and
M. Hilferty, "The distribution of chi-square", 1931): any device can draw it.

`mel`: powers add. `mel_if`: magnitudes add as sqrt(m^2 + n^2), and the frequency deviation shrinks to the sound's
share of the energy, m^2 / (m^2 + n^2), since that of noise averages to 0. Two things are left out: cells are drawn
independently although frames overlap, and what sound and noise do to each other by their phases, which averages
to 0.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from shared.audio.mel import mel_filterbank
from shared.config import FeatureConfig

NOISE_RANGE_DB: Final = 30.0
"""Noise is mixed in at up to this many decibels below the loudest."""


def noise_rms(loudest_db: float, level: Tensor) -> Tensor:
    """Root mean square, full scale being 1, of noise at `level` [N] in 0 … 1, evenly in decibels up to `loudest_db`."""
    return torch.pow(10.0, (loudest_db - NOISE_RANGE_DB * (1.0 - level)) / 20.0)


class WhiteNoise:
    """Noise as the bands of one feature configuration see it, on one device."""

    def __init__(self, features: FeatureConfig, device: torch.device) -> None:
        spectrogram = features.spectrogram
        self._magnitudes = features.representation == "mel_if"
        window = torch.hann_window(spectrogram.n_fft, dtype=torch.float64)
        bank = mel_filterbank(spectrogram).double()
        weight = bank.sum(dim=1)
        power = window.square().sum()
        in_a_bin = torch.sqrt(math.pi * power) / 2 if self._magnitudes else power
        variance_of_a_bin = 4 / math.pi - 1 if self._magnitudes else 1.0
        variance = variance_of_a_bin * _squared_norm(bank, window) / weight.square().clamp_min(1e-12)
        self._expected = (in_a_bin * weight).float().to(device)[:, None]
        """[M, 1]: a band's mean value for noise with a root mean square of 1; 0 in a band without bins."""
        self._ninth = (variance / 9).float().to(device)[:, None]
        """[M, 1]: a ninth of a band's variance by its squared mean."""

    def mix(self, features: Tensor, rms: Tensor, generator: torch.Generator) -> Tensor:
        """Unscaled `features` [B, C, M, T] with noise of `rms` [B]; both and `generator` on the noise's device."""
        rms = rms[:, None, None]
        level = self._expected * (rms if self._magnitudes else rms.square())
        first = features[:, 0]
        normal = torch.randn(first.shape, generator=generator, device=features.device)
        noise = level * (1 - self._ninth + self._ninth.sqrt() * normal).clamp_min(0.0).pow(3)
        sound = torch.expm1(first)
        if not self._magnitudes:
            return torch.log1p(sound + noise)[:, None]
        sound, noise = sound.square(), noise.square()
        share = sound / (sound + noise).clamp_min(torch.finfo(sound.dtype).tiny)
        return torch.stack([torch.log1p(torch.sqrt(sound + noise)), features[:, 1] * share], dim=1)


def _squared_norm(bank: Tensor, window: Tensor) -> Tensor:
    """sum_kl(w_k w_l rho_kl^2) of each band [M], for a bank [M, F].

    rho at a distance of d bins is the spectrum of the squared window at d by that at 0; a Hann window's is 0 beyond 2.
    """
    spectrum = torch.fft.rfft(window.square()).abs()
    total = bank.square().sum(dim=1)
    for distance in (1, 2):
        rho = spectrum[distance] / spectrum[0]
        total = total + 2 * rho.square() * (bank[:, distance:] * bank[:, :-distance]).sum(dim=1)
    return total
