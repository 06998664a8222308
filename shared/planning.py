"""How much work a training is: which files it holds out, how many chunks and steps it has.

The trainer goes by these rules, and the api tells a person what they come to before anything runs. All of it
follows from the clips' lengths as probed; nothing is decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shared.config import FeatureConfig, ModelConfig, Representation, SpectrogramConfig, TrainConfig
from shared.jobs import Clip

STAGES: Final[dict[Representation, tuple[int, ...]]] = {
    "mel": (1, 32, 64, 128, 256),
    "mel_if": (2, 64, 128, 256, 512, 1024),
}
"""Channels of the models from the input to the innermost feature map; each stage halves both sides."""


MOST_FITTED: Final = 2048
"""Examples that principal components are fitted to: with more of them held-out sounds are hardly met better."""
MOST_FITTED_BYTES: Final = 100 << 20
"""Long or finely divided examples are fewer, so that the fit stays a matter of seconds."""
LOOKED_AT: Final = 256
"""Of these, the ones that go through the model: BatchNorm's first statistics and the offsets are measured on them."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Names of the files on each side, in the order of the seeded shuffle."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Empty where there is only one file, or where no share is held out."""


def seeded_number(*parts: object) -> int:
    """A number in [0, 2**63) that depends on `parts` alone: the same in every version and on every machine."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def split_files(names: Sequence[str], fraction: float, seed: int) -> Split:
    """Hold out round(fraction * files) files, each side at least one; a single file is all for training.

    The shuffle orders names by a hash with the seed, so that a file added later leaves the others' order alone.
    Files are divided, never their chunks: chunks of one file are too alike to judge a model by.
    """
    shuffled = sorted(set(names), key=lambda name: (seeded_number("split", seed, name), name))
    if len(shuffled) < 2 or fraction == 0:
        return Split(train=tuple(shuffled), validation=())
    held_out = min(len(shuffled) - 1, max(1, round(fraction * len(shuffled))))
    return Split(train=tuple(shuffled[held_out:]), validation=tuple(shuffled[:held_out]))


@dataclass(frozen=True, kw_only=True)
class BatchRule:
    """How many examples a step takes.

    min(batch_size, chunks // 4), at least 1; where a single example could not be normalised at all, at least 2. A last
    batch of one example, which BatchNorm could not normalise by, joins the batch before it.
    """

    size: int
    """Examples of a batch."""
    examples: int
    """Examples of an epoch."""

    @classmethod
    def of(cls, *, batch_size: int, chunks: int, expansion: int, least: int = 1) -> BatchRule:
        """The rule for `chunks` training chunks, each seen `expansion` times in an epoch."""
        return cls(size=max(least, min(batch_size, chunks // 4)), examples=chunks * expansion)

    @classmethod
    def for_training(cls, train: TrainConfig, chunks: int) -> BatchRule:
        """The rule for a training with `chunks` training chunks."""
        return cls.of(batch_size=train.batch_size, chunks=chunks, expansion=train.expansion, least=train.least_batch)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        full, rest = divmod(self.examples, self.size)
        return max(1, full + (rest > 1))

    def bounds(self, index: int) -> tuple[int, int]:
        """First and one-past-last example of the batch at `index` (from 0)."""
        return index * self.size, self.examples if index == self.steps - 1 else (index + 1) * self.size


def chunk_starts(file_frames: int, chunk_frames: int) -> list[int]:
    """First frames of a file's chunks, side by side.

    A rest of half a chunk or more becomes one more chunk that ends with the file; a file shorter than a chunk is
    one chunk, padded with silence.
    """
    full, rest = divmod(file_frames, chunk_frames)
    starts = [index * chunk_frames for index in range(full)]
    if full and 2 * rest >= chunk_frames:
        starts.append(file_frames - chunk_frames)
    return starts or [0]


def file_frames(clip: Clip, spectrogram: SpectrogramConfig) -> int:
    """Frames of a clip at its own speed: those of its samples at the spectrogram's rate, rounded half up."""
    samples = (2 * clip.num_samples * spectrogram.sample_rate + clip.sample_rate) // (2 * clip.sample_rate)
    return spectrogram.frames(samples)


def feature_bytes(clips: Sequence[Clip], features: FeatureConfig) -> int:
    """Bytes of the features of all `clips` at every speed and pitch, which a training holds in memory; about."""
    frames = sum(file_frames(clip, features.spectrogram) for clip in clips)
    variants = sum(1 / speed for speed in features.speeds) + len(features.pitches)
    width = STAGES[features.representation][0] * features.spectrogram.n_mels
    return round(frames * variants) * width * 4


def fitted_examples(model: ModelConfig) -> int:
    """Examples that a training fits principal components to, where it starts with them."""
    size_bytes = 4 * STAGES[model.representation][0] * model.n_mels * model.frames
    return max(2, min(MOST_FITTED, MOST_FITTED_BYTES // size_bytes))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training comes to."""

    held_out: int
    """Files that the model is judged by."""
    chunks: int
    """Training chunks, of the other files."""
    batch_size: int
    steps_per_epoch: int
    total_steps: int


def plan_training(clips: Sequence[Clip], train: TrainConfig) -> Plan:
    """What a training of `clips` with `train` comes to."""
    split = split_files([clip.sha256 for clip in clips], train.validation_fraction, train.seed)
    training = frozenset(split.train)
    chunks = sum(
        len(chunk_starts(file_frames(clip, train.spectrogram), train.frames))
        for clip in clips
        if clip.sha256 in training
    )
    rule = BatchRule.for_training(train, chunks)
    return Plan(
        held_out=len(split.validation),
        chunks=chunks,
        batch_size=rule.size,
        steps_per_epoch=rule.steps,
        total_steps=rule.steps * train.epochs,
    )


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """How large a model is."""

    parameters: int
    """Numbers that are learnt."""
    activations: int
    """Cells of all feature maps of one example, of encoder and decoder."""


def model_size(model: ModelConfig) -> ModelSize:
    """The size of a model: 3 x 3 convolutions with biases and BatchNorm, linear layers to and from the latent space."""
    channels = STAGES[model.representation]
    multiple = 2 ** (len(channels) - 1)
    height, width = (-(-side // multiple) for side in (model.n_mels, model.frames))
    inner = channels[-1] * height * width
    parameters = 2 * (inner + 1) * model.latent_dim + (model.latent_dim + 1) * inner
    activations = inner + channels[0] * height * width * multiple**2
    for stage, (narrow, wide) in enumerate(pairwise(channels), start=1):
        weights = 9 * narrow * wide
        # BatchNorm follows all but the decoder's last convolution, which gives the features.
        parameters += 2 * weights + wide + 2 * wide + narrow + (2 * narrow if stage > 1 else 0)
        cells = height * width * 4 ** (len(channels) - 1 - stage)
        activations += wide * cells + (narrow * cells * 4 if stage > 1 else 0)
    return ModelSize(parameters=parameters, activations=activations)
