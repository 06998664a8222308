"""How features are scaled for the model, and back.

    log1p features [..., C, M, T]  --apply-->  what the model sees and gives  --invert-->  log1p features

What fits depends on the decoder's output. `sigma` and `elbo` end linearly, so `mel` is standardised to mean 0 and
variance 1. The magnitudes of `mel_if` end in Softplus, which cannot go below 0, so they are divided by their root
mean square and never shifted; frequencies lie in [-1, 1] already. The `documented` and `beta` objectives take
features as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from shared.config import Objective, Representation

_SMALLEST_SCALE = 1e-4
"""A channel that varies less than this is constant, and is not blown up."""


@dataclass(frozen=True, kw_only=True)
class FeatureScaling:
    """The map (features - mean) / scale, one pair for each channel. A checkpoint keeps it."""

    mean: tuple[float, ...]
    """What is subtracted, in log1p units."""
    scale: tuple[float, ...]
    """What is divided by, positive, in log1p units."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.scale) or not self.scale:
            raise ValueError("mean and scale must have one value for each channel")
        if not all(scale > 0 for scale in self.scale):
            raise ValueError("scale must be positive")

    @classmethod
    def identity(cls, channels: int) -> Self:
        """Features as they are."""
        return cls(mean=(0.0,) * channels, scale=(1.0,) * channels)

    @classmethod
    def fit(
        cls, features: Iterable[Tensor], *, representation: Representation = "mel", objective: Objective = "sigma"
    ) -> Self:
        """The scaling for a corpus: `features` are the training files', each [..., C, M, T] of any length T.

        Every cell counts alike. Raises ValueError where there is no cell at all.
        """
        channels = 1 if representation == "mel" else 2
        if objective in ("documented", "beta"):
            return cls.identity(channels)
        cells, total, squares = 0, 0.0, 0.0
        for each in features:
            first = each.detach()[..., 0, :, :].double()
            cells += first.numel()
            total += float(first.sum())
            squares += float(first.square().sum())
        if cells == 0:
            raise ValueError("there are no features to fit a scaling to")
        mean_square = squares / cells
        if representation == "mel_if":
            return cls(mean=(0.0, 0.0), scale=(_usable(mean_square**0.5), 1.0))
        mean = total / cells
        return cls(mean=(mean,), scale=(_usable(max(0.0, mean_square - mean**2) ** 0.5),))

    def apply(self, features: Tensor) -> Tensor:
        """Features [..., C, M, T] as the model sees them, same shape and dtype."""
        return self._per_channel(features, lambda channel, mean, scale: (channel - mean) / scale)

    def invert(self, scaled: Tensor) -> Tensor:
        """What a model gave, back in log1p units, same shape and dtype."""
        return self._per_channel(scaled, lambda channel, mean, scale: channel * scale + mean)

    def to_json(self) -> dict[str, list[float]]:
        """As plain data; `from_json` takes it back."""
        return {"mean": list(self.mean), "scale": list(self.scale)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The scaling that `to_json` described. Raises KeyError or ValueError for anything else."""
        mean: Sequence[Any] = data["mean"]
        scale: Sequence[Any] = data["scale"]
        return cls(mean=tuple(float(value) for value in mean), scale=tuple(float(value) for value in scale))

    def _per_channel(self, features: Tensor, change: Callable[[Tensor, float, float], Tensor]) -> Tensor:
        # Plain numbers, not tensors: nothing has to be copied to the device in each step.
        pairs = zip(self.mean, self.scale, strict=True)
        changed = [change(features[..., c : c + 1, :, :], mean, scale) for c, (mean, scale) in enumerate(pairs)]
        return changed[0] if len(changed) == 1 else torch.cat(changed, dim=-3)


def _usable(scale: float) -> float:
    return scale if scale > _SMALLEST_SCALE else 1.0
