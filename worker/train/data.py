"""Examples for a training: which files, which excerpts, in which order; and the gather that makes a batch.

    features (rows of frames) --ChunkGrid--> fixed chunks --EpochOrder--> excerpts --Gatherer--> batch [B, C, M, T]

Everything random in an epoch is drawn at its start by generators seeded with (seed, epoch), and the cells of noise
by one seeded with (seed, epoch, first example of the batch): what the example at an index of an epoch is does not
depend on what ran before, so that a resume goes on in mid-epoch exactly.

An excerpt becomes an example in this order: another sound is mixed in, level and timbre change, noise comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from shared.audio.representation import RepresentationTransform
from shared.config import TrainConfig
from shared.planning import chunk_starts, seeded_number
from shared.vae.scaling import FeatureScaling
from worker.preprocess.feature_set import FeatureSet
from worker.train.augment import WhiteNoise, noise_rms

KNOTS: Final = 6
"""Places on the scale of bands where an equaliser has a level of its own."""
DEVICE_MEMORY_SHARE: Final = 0.5
"""Share of the device's free memory that features may take; above it they stay in the machine's memory."""


@dataclass(frozen=True, kw_only=True)
class ChunkGrid:
    """Fixed chunks of some files: int64 [chunks] each."""

    clip: Tensor
    """Index of the clip in the feature set."""
    start: Tensor
    """First frame, at the original speed."""

    def __len__(self) -> int:
        return len(self.clip)

    def thinned(self, most: int) -> ChunkGrid:
        """At most `most` chunks, evenly spread."""
        if len(self) <= most:
            return self
        keep = torch.arange(most) * len(self) // most
        return ChunkGrid(clip=self.clip[keep], start=self.start[keep])


@dataclass(frozen=True, kw_only=True)
class Excerpts:
    """Where examples are in the rows of the feature set; [N] each, on the device of the features."""

    base: Tensor
    """Row of the first frame of the clip's chosen variant, int64."""
    length: Tensor
    """Frames of that variant, int64."""
    start: Tensor
    """First frame within the clip, int64; below 0 for silence before the sound."""
    gain_db: Tensor | None
    """Change of level in decibels, float32; None where nothing is changed."""
    noise_rms: Tensor | None = None
    """Root mean square of noise, float32, full scale being 1 and 0 for none; on the CPU; None where nobody gets any."""
    equalizer_db: Tensor | None = None
    """Change of level at KNOTS places from the lowest band to the highest, float32 [N, KNOTS]; None for no change."""
    others: Excerpts | None = None
    """What may be mixed in, with its own gain; None where nothing is."""
    is_mixed: Tensor | None = None
    """Whether it is mixed in, bool; on the CPU; None where nothing is."""
    epoch: int = 0
    """Epoch (from 0) that they belong to, which seeds their noise."""

    def to(self, device: torch.device) -> Excerpts:
        """The same on `device`, but for the noise, and for who is mixed."""
        return replace(
            self,
            base=self.base.to(device),
            length=self.length.to(device),
            start=self.start.to(device),
            gain_db=None if self.gain_db is None else self.gain_db.to(device),
            equalizer_db=None if self.equalizer_db is None else self.equalizer_db.to(device),
            others=None if self.others is None else self.others.to(device),
        )


class TrainingData:
    """The features of one training, on its device, with all that makes batches of them."""

    def __init__(
        self, features: FeatureSet, config: TrainConfig, representation: RepresentationTransform, device: torch.device
    ) -> None:
        """Raises KeyError in `grid` for a clip that the features do not hold."""
        self._config = config
        self._representation = representation
        self._device = device
        self._mels = config.spectrogram.n_mels
        self._channels = features.manifest.channels
        clips = features.manifest.clips
        self._position = {clip.sha256: index for index, clip in enumerate(clips)}
        self._lengths = torch.tensor([clip.frames for clip in clips], dtype=torch.int64)
        """[clips, variants] frames: every speed, then every pitch"""
        ends = self._lengths.flatten().cumsum(0)
        self._bases = (1 + ends - self._lengths.flatten()).view_as(self._lengths)
        """[clips, variants] rows; row 0 is silence"""
        self._cpu_frames = features.frames
        size = features.manifest.size_bytes
        self._frames = features.frames.to(device) if size <= _room(device) * DEVICE_MEMORY_SHARE else features.frames
        self._scaling: tuple[Tensor, Tensor] | None = None
        self._noise = WhiteNoise(config.features(), device) if config.noise_probability > 0 else None

    def grid(self, sha256s: Sequence[str]) -> ChunkGrid:
        """The chunks of the clips called `sha256s`, one clip after the other."""
        clips: list[int] = []
        starts: list[int] = []
        for sha256 in sha256s:
            clip = self._position[sha256]
            own = chunk_starts(int(self._lengths[clip, 0]), self._config.frames)
            clips += [clip] * len(own)
            starts += own
        return ChunkGrid(clip=torch.tensor(clips), start=torch.tensor(starts))

    def fit_scaling(self, sha256s: Sequence[str]) -> FeatureScaling:
        """The scaling for the sounds called `sha256s` as they are, at their own speed."""
        spans = [(int(self._bases[clip, 0]), int(self._lengths[clip, 0])) for clip in map(self._position.get, sha256s)]
        return FeatureScaling.fit(
            (self._as_features(self._cpu_frames[base : base + length][None]) for base, length in spans),
            representation=self._config.representation,
            objective=self._config.objective,
        )

    def use_scaling(self, scaling: FeatureScaling) -> None:
        """Scale batches by `scaling` from now on."""
        mean, scale = (torch.tensor(values, device=self._device)[:, None, None] for values in _pair(scaling))
        self._scaling = mean, scale

    def loudest_chunk(self, sha256: str) -> int:
        """First frame of the chunk of a clip that has the most energy, on the grid."""
        clip = self._position[sha256]
        base, length = int(self._bases[clip, 0]), int(self._lengths[clip, 0])
        energy = self._cpu_frames[base : base + length, : self._mels].sum(dim=1)
        starts = chunk_starts(length, self._config.frames)
        return max(starts, key=lambda start: float(energy[start : start + self._config.frames].sum()))

    def fixed(self, grid: ChunkGrid) -> Excerpts:
        """The chunks as they are, neither moved nor made faster nor quieter."""
        return Excerpts(
            base=self._bases[grid.clip, 0], length=self._lengths[grid.clip, 0], start=grid.start, gain_db=None
        ).to(self._frames.device)

    def epoch(self, grid: ChunkGrid, epoch: int) -> Excerpts:
        """The examples of `epoch` (from 0) in their order, each chunk `expansion` times."""
        config = self._config
        generator = torch.Generator().manual_seed(seeded_number("epoch", config.seed, epoch))
        order = torch.randperm(len(grid) * config.expansion, generator=generator) % len(grid)
        count = len(order)
        augmented = self._draw_augmented(count, epoch)
        excerpts = replace(self._draw(grid, order, generator, augmented), epoch=epoch)
        if config.mix_probability > 0:
            chosen = torch.randint(len(grid), (count,), generator=generator)
            others = self._draw(grid, chosen, generator, torch.ones_like(augmented))
            quieter, mix = torch.rand(2, count, generator=generator)
            others = replace(others, gain_db=-config.mix_db * quieter, noise_rms=None)
            excerpts = replace(excerpts, others=others, is_mixed=augmented & (mix < config.mix_probability))
        if config.equalizer_probability > 0 and config.equalizer_db > 0:
            knots = config.equalizer_db * (2 * torch.rand(count, KNOTS, generator=generator) - 1)
            equalize = augmented & (torch.rand(count, generator=generator) < config.equalizer_probability)
            excerpts = replace(excerpts, equalizer_db=torch.where(equalize[:, None], knots, 0.0))
        return excerpts.to(self._frames.device)

    def _draw_augmented(self, count: int, epoch: int) -> Tensor:
        """Which of `count` examples are more than excerpts, bool [count].

        By a generator of its own, so that their share changes nothing else that is drawn for the epoch.
        """
        generator = torch.Generator().manual_seed(seeded_number("augment", self._config.seed, epoch))
        return torch.rand(count, generator=generator) < self._config.augment_probability

    def _draw(self, grid: ChunkGrid, chosen: Tensor, generator: torch.Generator, augmented: Tensor) -> Excerpts:
        """An excerpt for each of the `chosen` chunks, int64 [N]; those not `augmented`, bool [N], stay as they are."""
        config, count = self._config, len(chosen)
        clip, start = grid.clip[chosen], grid.start[chosen]
        where = torch.rand(count, generator=generator, dtype=torch.float64)
        level, noise_level = torch.rand(2, count, generator=generator)
        # 1.0 is below no probability.
        change_gain, shift, add_noise = torch.where(augmented, torch.rand(3, count, generator=generator), 1.0)
        variant = torch.where(augmented, self._draw_variants(count, generator), 0)
        length = self._lengths[clip, variant]
        latest = (length - config.frames).clamp_min(0)
        if config.random_crops:
            furthest = round(config.shift_s * config.spectrogram.sample_rate / config.spectrogram.hop_length)
            earliest = torch.where(shift < config.shift_probability, -furthest, 0)
            start = earliest + (where * (latest - earliest + 1)).long()
        else:
            # The same moment of the sound, which a faster speed brings sooner.
            start = torch.minimum(start * length // self._lengths[clip, 0], latest)
        quieter = torch.where(change_gain < config.gain_probability, -config.gain_db * level, 0.0)
        rms = torch.where(add_noise < config.noise_probability, noise_rms(config.noise_db, noise_level), 0.0)
        return Excerpts(
            base=self._bases[clip, variant],
            length=length,
            start=start,
            gain_db=quieter if config.gain_db > 0 and config.gain_probability > 0 else None,
            noise_rms=rms if config.noise_probability > 0 else None,
        )

    def _draw_variants(self, count: int, generator: torch.Generator) -> Tensor:
        """A variant for each of `count` examples, int64: 0 as it is, then the other speeds, then the pitches."""
        config = self._config
        speeds, pitches = len(config.speeds), len(config.pitches)
        change_speed, change_pitch, which = torch.rand(3, count, generator=generator, dtype=torch.float64)
        variant = torch.zeros(count, dtype=torch.int64)
        if pitches:
            pitch = speeds + (which * pitches).long()
            variant = torch.where(change_pitch < config.pitch_probability, pitch, variant)
        if speeds > 1:
            speed = 1 + (which * (speeds - 1)).long()
            variant = torch.where(change_speed < config.speed_probability, speed, variant)
        return variant

    def batch(self, excerpts: Excerpts, first: int, end: int, memory_format: torch.memory_format) -> Tensor:
        """Scaled features [end - first, C, M, T], float32 on the device, of the examples first .. end - 1."""
        features = self.unscaled_batch(excerpts, first, end)
        if self._scaling is None:
            raise RuntimeError("use_scaling comes first")
        mean, scale = self._scaling
        return ((features - mean) / scale).contiguous(memory_format=memory_format)

    def unscaled_batch(self, excerpts: Excerpts, first: int, end: int) -> Tensor:
        """The same in log1p units."""
        features = self._cut(excerpts, slice(first, end))
        if excerpts.others is not None and excerpts.is_mixed is not None:
            features = self._mixed(features, excerpts.others, excerpts.is_mixed[first:end].nonzero()[:, 0], first)
        change = None if excerpts.gain_db is None else excerpts.gain_db[first:end, None]
        if excerpts.equalizer_db is not None:
            curve = self._curve(excerpts.equalizer_db[first:end])
            change = curve if change is None else change + curve
        if change is not None:
            features = self._representation.gain(features, change.to(self._device, non_blocking=True))
        if excerpts.noise_rms is not None:
            features = self._with_noise(features, excerpts.noise_rms[first:end], excerpts.epoch, first)
        return features

    def _cut(self, excerpts: Excerpts, which: slice | Tensor) -> Tensor:
        """Features [N, C, M, T] on the device as they were cached."""
        start, length = excerpts.start[which, None], excerpts.length[which, None]
        frame = start + torch.arange(self._config.frames, device=start.device)
        inside = (frame >= 0) & (frame < length)
        rows = torch.where(inside, excerpts.base[which, None] + frame, 0)
        taken = self._frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return self._as_features(taken).to(self._device, non_blocking=True)

    def _mixed(self, features: Tensor, others: Excerpts, mixed: Tensor, first: int) -> Tensor:
        """`features`, whose first is example `first`, with the others' sound in those that are `mixed`, int64 [N]."""
        if len(mixed) == 0 or others.gain_db is None:
            return features
        which = (first + mixed).to(self._frames.device, non_blocking=True)
        quieter = others.gain_db[which, None].to(self._device, non_blocking=True)
        mixed = mixed.to(self._device, non_blocking=True)
        together = self._representation.mix(features[mixed], self._cut(others, which), quieter)
        return features.index_copy_(0, mixed, together)

    def _curve(self, knots: Tensor) -> Tensor:
        """The level of every band [N, M], straight between KNOTS places [N, KNOTS]."""
        return functional.interpolate(knots[:, None], self._mels, mode="linear", align_corners=True)[:, 0]

    def _with_noise(self, features: Tensor, rms: Tensor, epoch: int, first: int) -> Tensor:
        """`features`, whose first is example `first` of `epoch`, with noise in those whose `rms` is above 0."""
        noisy = rms.nonzero()[:, 0]  # on the CPU: the device is not waited for
        if self._noise is None or len(noisy) == 0:
            return features
        seed = seeded_number("noise", self._config.seed, epoch, first)
        generator = torch.Generator(self._device).manual_seed(seed)
        which = noisy.to(self._device, non_blocking=True)
        level = rms[noisy].to(self._device, non_blocking=True)
        return features.index_copy(0, which, self._noise.mix(features[which], level, generator))

    def _as_features(self, rows: Tensor) -> Tensor:
        """Rows [B, T, C * M] as [B, C, M, T]."""
        return rows.unflatten(2, (self._channels, self._mels)).permute(0, 2, 3, 1).contiguous()


def _pair(scaling: FeatureScaling) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return scaling.mean, scaling.scale


def _room(device: torch.device) -> float:
    """Bytes free on `device`; without limit where the features are in its memory already."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available) if device.type == "mps" else float("inf")
