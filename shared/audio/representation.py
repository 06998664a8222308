"""What everyone else uses: one interface to both representations.

    waveform [B, 1, S]  --analyse-->  features [B, C, n_mels, T]  --synthesise-->  waveform [B, 1, S]

C = 1 for `mel` (log1p mel power), 2 for `mel_if` (log1p mel magnitude, instantaneous frequency).
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from shared.audio.instantaneous_frequency import MelInstantaneousFrequency
from shared.audio.spectrogram import AudioSpectrogram
from shared.config import FeatureConfig, Representation

Quality = Literal["fast", "best"]
"""`fast` for previews while a model trains, `best` for what is kept."""

ITERATIONS: Final[dict[Quality, int]] = {"fast": 14, "best": 64}
"""Of phase recovery: more than `fast` bring little, more than `best` nothing."""

CHANNELS: Final[dict[Representation, int]] = {"mel": 1, "mel_if": 2}


class RepresentationTransform(Protocol):
    """A pair of analysis and synthesis with an exact change of level between them."""

    @property
    def channels(self) -> int:
        """C."""
        ...

    def analyse(self, waveform: Tensor) -> Tensor:
        """Features [B, C, n_mels, T], float32, of `waveform` [B, 1, S]; T = S // hop_length + 1."""
        ...

    def synthesise(self, features: Tensor, num_samples: int | None = None, *, quality: Quality = "fast") -> Tensor:
        """Waveform [B, 1, num_samples], float32; without `num_samples` (T - 1) * hop_length samples."""
        ...

    def gain(self, features: Tensor, db: float | Tensor) -> Tensor:
        """The features of the same sound `db` decibels louder.

        A tensor [B] or [B, 1] gives each example its own, [B, n_mels] each band of each example.
        """
        ...

    def mix(self, features: Tensor, other: Tensor, db: float | Tensor = 0.0) -> Tensor:
        """The features [B, C, n_mels, T] to be expected of a sound and another, `db` louder: their energies add."""
        ...


class MelRepresentation:
    """`mel`: one channel of log1p mel power."""

    channels: int = CHANNELS["mel"]

    def __init__(self, features: FeatureConfig) -> None:
        self._transform = AudioSpectrogram(features.spectrogram)

    def analyse(self, waveform: Tensor) -> Tensor:
        """See `RepresentationTransform`."""
        return self._transform.waveform_to_mel(waveform)

    def synthesise(self, features: Tensor, num_samples: int | None = None, *, quality: Quality = "fast") -> Tensor:
        """See `RepresentationTransform`."""
        return self._transform.mel_to_waveform(features, num_samples, iterations=ITERATIONS[quality])

    def gain(self, features: Tensor, db: float | Tensor) -> Tensor:
        """Power grows by 10 ** (db / 10)."""
        return _louder(features, _factor(db, 10.0, features))

    def mix(self, features: Tensor, other: Tensor, db: float | Tensor = 0.0) -> Tensor:
        """Powers add."""
        return torch.log1p(torch.expm1(features) + torch.expm1(other) * _factor(db, 10.0, features))


class MelIfRepresentation:
    """`mel_if`: log1p mel magnitude, and instantaneous frequency, which no level changes."""

    channels: int = CHANNELS["mel_if"]

    def __init__(self, features: FeatureConfig) -> None:
        self._transform = MelInstantaneousFrequency(features.spectrogram, mask_threshold=features.mask_threshold)

    def analyse(self, waveform: Tensor) -> Tensor:
        """See `RepresentationTransform`."""
        return self._transform.waveform_to_mel_if(waveform)

    def synthesise(self, features: Tensor, num_samples: int | None = None, *, quality: Quality = "fast") -> Tensor:
        """See `RepresentationTransform`."""
        return self._transform.mel_if_to_waveform(features, num_samples, iterations=ITERATIONS[quality])

    def gain(self, features: Tensor, db: float | Tensor) -> Tensor:
        """Magnitude grows by 10 ** (db / 20)."""
        magnitude = _louder(features[..., :1, :, :], _factor(db, 20.0, features))
        return torch.cat([magnitude, features[..., 1:, :, :]], dim=-3)

    def mix(self, features: Tensor, other: Tensor, db: float | Tensor = 0.0) -> Tensor:
        """Squared magnitudes add; the frequency is the mean of both, weighted by their energy."""
        first, second = (torch.expm1(each[:, :1]).square() for each in (features, other))
        second = second * _factor(db, 10.0, features)
        energy = first + second
        share = first / energy.clamp_min(torch.finfo(energy.dtype).tiny)
        frequency = share * features[:, 1:] + (1 - share) * other[:, 1:]
        return torch.cat([torch.log1p(torch.sqrt(energy)), frequency], dim=1)


def make_representation(features: FeatureConfig) -> RepresentationTransform:
    """The transform that `features` asks for, on the CPU."""
    return MelRepresentation(features) if features.representation == "mel" else MelIfRepresentation(features)


def _factor(db: float | Tensor, per_decade: float, features: Tensor) -> Tensor:
    """10 ** (db / per_decade), shaped to multiply `features` [..., C, n_mels, T]."""
    exponent = torch.as_tensor(db, dtype=features.dtype, device=features.device) / per_decade
    factor = torch.pow(10.0, exponent)
    return factor if factor.ndim == 0 else factor.reshape(len(factor), 1, -1, 1)


def _louder(log1p_values: Tensor, factor: Tensor) -> Tensor:
    return torch.log1p(torch.expm1(log1p_values) * factor)
