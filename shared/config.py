"""Configuration of features, models and trainings: frozen values, checked at construction.

The api, the workers and the page share these: the page's types and help texts are generated from their
schemas. Nothing here needs torch. `shared.presets` turns what a person asked for into a complete `TrainConfig`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared import patterns
from shared.errors import ConfigError

Representation = Literal["mel", "mel_if"]
"""`mel`: log1p mel power, 1 channel. `mel_if`: magnitude and instantaneous frequency, 2 channels."""

Objective = Literal["sigma", "elbo", "beta", "documented"]
"""Which loss is minimised; see `shared.vae.loss`."""

OptimizerName = Literal["adamw", "muon"]
"""`muon`: Muon for all matrices and kernels but the first and the last, AdamW for the rest."""

PresetName = Literal["auto", "conservative", "balanced", "aggressive"]

FirstWeights = Literal["principal", "random"]
"""`principal`: the linear optimum for the examples; see `shared.vae.principal`."""

HALVINGS: Final[Mapping[Representation, int]] = {"mel": 4, "mel_if": 5}
"""How often the encoder halves both sides of its input."""

BETA_KL_WEIGHT: Final = 0.01
"""Largest KL weight of the `beta` objective, and its default."""

FEATURE_FORMAT: Final = 2
"""Raised whenever the same configuration would give other features, so that old caches are not reused."""

MIN_CLIP_SAMPLES: Final = 2048
"""Files with fewer samples (per channel, at their own rate) are refused."""


Speeds = Annotated[tuple[Annotated[float, Field(ge=0.25, le=4.0)], ...], Field(min_length=1, max_length=16)]
Pitches = Annotated[tuple[Annotated[float, Field(ge=-24.0, le=24.0)], ...], Field(max_length=16)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
MOST_REFINE_STEPS: Final = 200
"""Beyond those a latent hardly improves, and a preview would hold its training up."""
RefineSteps = Annotated[int, Field(ge=0, le=MOST_REFINE_STEPS)]


class Frozen(BaseModel):
    """Base of all values that travel between processes: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class SpectrogramConfig(Frozen):
    """How samples become mel frames."""

    sample_rate: Annotated[int, Field(ge=8_000, le=192_000)] = 48_000
    """Samples per second that every sound is resampled to, in Hz."""
    n_fft: Annotated[int, Field(ge=64, le=16_384)] = 2048
    """Window length of the Fourier transform in samples."""
    hop_length: Annotated[int, Field(ge=16, le=8_192)] = 512
    """Samples between two frames."""
    n_mels: Annotated[int, Field(ge=16, le=512)] = 128
    """Mel bands."""
    f_min: Annotated[float, Field(ge=0.0, le=90_000.0)] = 0.0
    """Lower edge of the lowest band in Hz."""
    f_max: Annotated[float, Field(gt=0.0, le=96_000.0)] | None = None
    """Upper edge of the highest band in Hz; unset means half the sample rate."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft: lower hop_length or raise n_fft")
        if self.f_max_hz > self.sample_rate / 2:
            raise ValueError("f_max must not exceed half the sample rate: leave it unset to use exactly that")
        if self.f_min >= self.f_max_hz:
            raise ValueError("f_min must lie below f_max")
        return self

    @property
    def f_max_hz(self) -> float:
        """Upper edge of the highest band in Hz, with the default filled in."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    def frames(self, num_samples: int) -> int:
        """Frames of a centred transform of `num_samples` samples: num_samples // hop_length + 1."""
        return num_samples // self.hop_length + 1


class FeatureConfig(Frozen):
    """What a preprocess job makes of one dataset version; together with it, the key of the feature cache."""

    representation: Representation = "mel"
    """What the model sees of a sound."""
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    """How samples become frames."""
    speeds: Speeds = (1.0,)
    """Playback speeds that features are kept for; 1.0 is the sound as it is and comes first."""
    pitches: Pitches = ()
    """Shifts of pitch in semitones, at the sound's own length, that features are kept for beside the speeds."""
    mask_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """`mel_if` alone: the frequency channel is 0 where the magnitude is below this share of the clip's peak."""

    @model_validator(mode="after")
    def _original_first(self) -> Self:
        if self.speeds[0] != 1.0:
            raise ValueError("speeds must start with 1.0, the sound as it is")
        if len(set(self.speeds)) != len(self.speeds):
            raise ValueError("speeds must differ from each other")
        if 0.0 in self.pitches or len(set(self.pitches)) != len(self.pitches):
            raise ValueError("pitches must differ from each other and from 0, the sound as it is")
        return self

    @property
    def variants(self) -> int:
        """How often each clip is kept: at every speed, then at every pitch."""
        return len(self.speeds) + len(self.pitches)

    def cache_key(self, dataset_version: str) -> str:
        """Name of the features of `dataset_version` (its content hash) under this configuration, 64 hex digits."""
        content = {"format": FEATURE_FORMAT, "version": dataset_version, "config": self.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class ModelConfig(Frozen):
    """The shape of a model. A checkpoint keeps it, so that the model is rebuilt without a dummy forward."""

    representation: Representation = "mel"
    """Decides channels, depth and output activations."""
    n_mels: Annotated[int, Field(ge=16, le=512)] = 128
    """Height of the input in mel bands."""
    frames: Annotated[int, Field(ge=1, le=8_192)] = 94
    """Width of the input in frames."""
    latent_dim: Annotated[int, Field(ge=1, le=4_096)] = 64
    """Dimensions of the latent space."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of feature maps that Dropout2d zeroes after each encoder block."""
    output: Literal["linear", "sigmoid", "softplus"] = "linear"
    """Activation of the `mel` decoder; `mel_if` always has Softplus for magnitude and Tanh for frequency."""
    logvar_bound: Annotated[float, Field(gt=0.0, le=30.0)] | None = 8.0
    """Largest absolute value of logvar, reached softly; None leaves it unbounded (the documented objective)."""


class TrainConfig(Frozen):
    """Everything that decides a training, complete: what a job keeps and a checkpoint repeats."""

    representation: Representation = "mel"
    """What the model sees of a sound."""
    preset: PresetName = "auto"
    """Where the values came from; they are all listed here, so that this is only a name."""
    objective: Objective = "sigma"
    """Which loss is minimised."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Passes over the chunks, each seen `expansion` times per epoch."""
    expansion: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Examples made of each chunk in one epoch."""
    batch_size: Annotated[int, Field(ge=1, le=1_024)] = 32
    """Largest batch; a small corpus gets min(batch_size, chunks // 4), at least 1."""
    optimizer: OptimizerName = "adamw"
    """AdamW, or Muon for all matrices and kernels but the first and the last; each has learning rates of its own."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    """Largest learning rate of the optimizer; cosine annealing takes it to zero."""
    warmup_fraction: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of the run over which the learning rate rises to that value, so that good first weights survive."""
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    """Decoupled weight decay of the optimizer."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of feature maps that Dropout2d zeroes."""
    grad_clip: Annotated[float, Field(gt=0.0, le=1_000.0)] = 1.0
    """Largest norm of all gradients together."""
    kl_weight: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Weight of the KL term after its warm-up."""
    kl_warmup_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    """Share of the epochs over which the KL weight rises from zero."""
    free_bits: Annotated[float, Field(ge=0.0, le=10.0)] = 0.5
    """KL below this many nats per dimension is not pushed down further."""
    latent_dim: Annotated[int, Field(ge=1, le=4_096)] = 64
    """Dimensions of the latent space."""
    first_weights: FirstWeights = "random"
    """What the model starts as: the principal components of its examples, or nothing in particular."""
    keep_statistics: bool = False
    """Normalise by the statistics that the first weights came with, for good, instead of by those of each batch."""
    average_steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    """What is judged, heard and kept is the average of the weights over about so many steps; 0: the newest weights."""
    chunk_s: Annotated[float, Field(ge=0.05, le=30.0)] = 1.0
    """Length of a training example in seconds."""
    validation_fraction: Annotated[float, Field(ge=0.0, le=0.9)] = 0.2
    """Share of the files held out to judge the model; never augmented."""
    random_crops: bool = True
    """Take examples from anywhere in a file instead of from a fixed grid of chunks."""
    augment_probability: Probability = 1.0
    """Share of the examples that are changed, each way by its own share of them; the others stay as they are."""
    gain_db: Annotated[float, Field(ge=0.0, le=40.0)] = 6.0
    """Changed examples are made up to this much quieter, in decibels; 0 leaves the level alone."""
    gain_probability: Probability = 1.0
    """Share of the changed examples whose level is changed."""
    shift_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.05
    """Changed examples start up to this many seconds before the sound does; used with random crops."""
    shift_probability: Probability = 1.0
    """Share of the changed examples that may start before the sound does."""
    speeds: Speeds = (1.0,)
    """Playback speeds that changed examples are drawn from; 1.0 comes first."""
    speed_probability: Probability = 0.8
    """Share of the changed examples that are played at one of the other speeds."""
    pitches: Pitches = ()
    """Shifts of pitch, in semitones, that changed examples are drawn from; their length stays."""
    pitch_probability: Probability = 0.5
    """Share of the changed examples at their own speed whose pitch is shifted."""
    mix_probability: Probability = 0.0
    """Share of the changed examples that another one is mixed into."""
    mix_db: Annotated[float, Field(ge=0.0, le=60.0)] = 20.0
    """What is mixed in is up to this much quieter, in decibels."""
    equalizer_db: Annotated[float, Field(ge=0.0, le=24.0)] = 8.0
    """Bands are made up to this much louder or quieter, along a random curve, in decibels; 0 leaves them alone."""
    equalizer_probability: Probability = 0.0
    """Share of the changed examples that get such a curve."""
    noise_db: Annotated[float, Field(ge=-100.0, le=0.0)] = -40.0
    """Loudest white noise that is mixed into changed examples, in decibels below full scale."""
    noise_probability: Probability = 0.0
    """Share of the changed examples that get noise."""
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    """How samples become frames."""
    mask_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """`mel_if` alone: below this share of the peak magnitude the frequency channel is silent."""
    frequency_weight: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """`mel_if` alone: weight of the frequency channel's error."""
    spectral_weight: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """Weight of the magnitudes' errors at coarser resolutions (2, 4 and 8 cells) beside those of single cells."""
    preview_every: Annotated[int, Field(ge=0, le=100_000)] = 5
    """Epochs between two previews; 0 makes none by itself."""
    preview_clips: Annotated[int, Field(ge=1, le=16)] = 3
    """Clips whose reconstruction is followed, and random latents that are decoded, in each preview."""
    refine_steps: RefineSteps = 0
    """Steps in which previews improve on the encoder's guess of a clip, to sound closer to it; 0: the guess itself."""
    checkpoint_every_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """Seconds between two checkpoints; a new best one is always saved at its epoch's end."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Start of every random generator: the same seed gives the same run."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.chunk_samples < MIN_CLIP_SAMPLES or self.chunk_samples < self.spectrogram.n_fft:
            raise ValueError("chunk_s is too short for n_fft: make it longer or lower n_fft")
        if self.objective == "beta" and self.kl_weight > BETA_KL_WEIGHT:
            raise ValueError(f"kl_weight must be at most {BETA_KL_WEIGHT} for the beta objective")
        if self.keep_statistics and self.first_weights == "random":
            raise ValueError("keep_statistics must be off where first_weights is random: those come without statistics")
        self.features()
        return self

    @property
    def chunk_samples(self) -> int:
        """Samples of one example."""
        return round(self.chunk_s * self.spectrogram.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of one example."""
        return self.spectrogram.frames(self.chunk_samples)

    @property
    def least_batch(self) -> int:
        """Examples that a batch needs: 2 where the innermost map is a single cell, which BatchNorm could not judge."""
        reach = 2 ** HALVINGS[self.representation]
        return 2 if self.spectrogram.n_mels <= reach and self.frames <= reach else 1

    def features(self) -> FeatureConfig:
        """The features that this training reads."""
        return FeatureConfig(
            representation=self.representation,
            spectrogram=self.spectrogram,
            speeds=self.speeds,
            pitches=self.pitches,
            mask_threshold=self.mask_threshold,
        )

    def model(self) -> ModelConfig:
        """The model that this training builds; the objective decides its output and the bound of logvar."""
        outputs: dict[Objective, Literal["linear", "sigmoid", "softplus"]] = {
            "sigma": "linear",
            "elbo": "linear",
            "beta": "softplus",
            "documented": "sigmoid",
        }
        return ModelConfig(
            representation=self.representation,
            n_mels=self.spectrogram.n_mels,
            frames=self.frames,
            latent_dim=self.latent_dim,
            dropout=self.dropout,
            output=outputs[self.objective],
            logvar_bound=None if self.objective == "documented" else 8.0,
        )


_PROBLEMS: Final = {
    "extra_forbidden": "there is no such field",
    "int_parsing": "this must be a whole number",
    "int_from_float": "this must be a whole number",
    "int_type": "this must be a whole number",
    "float_parsing": "this must be a number",
    "float_type": "this must be a number",
    "bool_parsing": "this must be true or false",
    "bool_type": "this must be true or false",
    "less_than_equal": "this must be {le:,} at most",
    "less_than": "this must be less than {lt:,}",
    "greater_than_equal": "this must be {ge:,} at least",
    "greater_than": "this must be more than {gt:,}",
    "missing": "this is missing",
    "too_short": "this needs {min_length:,} at least",
    "too_long": "this may have {max_length:,} at most",
    "tuple_type": "this must be a list, such as [1.0, 0.5]",
}
"""What is wrong, by pydantic's name of it, in words for a person."""


def config_error(error: ValidationError) -> ConfigError:
    """The first problem of a failed validation as one sentence that names the field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        message = patterns.IN_WORDS.get(first.get("ctx", {}).get("pattern", ""), "this is not written as it must be")
    if (words := _PROBLEMS.get(first["type"])) is not None:
        message = words.format(**first.get("ctx", {}))
    return ConfigError(f"{field}: {message}" if field else message, field=field)
