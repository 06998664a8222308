"""Jobs, their states and what travels to a worker.

A job is our record of a piece of work; an attempt is one effective run of it, and its number is the fence:
whatever an older attempt still does is refused. A ticket is the Celery message "job J, attempt A, is yours":
a hint, never the truth. All of these are frozen values with their own encode and decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from shared.config import FeatureConfig, Frozen, RefineSteps, Representation, TrainConfig
from shared.errors import TransitionError
from shared.patterns import DEVICE
from shared.placement import Placement

JobKind = Literal["preprocess", "train"]


class JobState(StrEnum):
    """Where a job stands. Only the api writes it."""

    HELD = "held"  # waits for a person to release it
    QUEUED = "queued"  # waits for a device
    STARTING = "starting"  # given to a device, its trainer process is not at work yet
    RUNNING = "running"  # its trainer process is at work
    PAUSING = "pausing"  # asked to save and free the device
    PAUSED = "paused"  # saved; the device is free; goes on when resumed
    CANCELLING = "cancelling"  # asked to save and stop; the process is still there
    CANCELLED = "cancelled"  # stopped by a person; can be resumed
    COMPLETED = "completed"  # did all its epochs; can be extended
    FAILED = "failed"  # stopped by a fault that it names; can be resumed


ACTIVE: Final = frozenset({JobState.STARTING, JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""States in which an attempt holds, or is about to hold, a device."""

ENDED: Final = frozenset({JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED})
"""States that no process leaves by itself."""

RESUMABLE: Final = ENDED | {JobState.PAUSED}
"""States that a person can resume from."""

TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.HELD: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.HELD, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.PAUSING, JobState.CANCELLING, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.COMPLETED, JobState.FAILED, JobState.QUEUED, JobState.PAUSING, JobState.CANCELLING}
    ),
    JobState.PAUSING: frozenset(
        {JobState.PAUSED, JobState.CANCELLING, JobState.COMPLETED, JobState.FAILED, JobState.QUEUED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.COMPLETED: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
}
"""The only legal moves."""


def check_transition(job_id: int, old: JobState, new: JobState) -> None:
    """Raise TransitionError unless a job may go from `old` to `new`."""
    if new not in TRANSITIONS[old]:
        raise TransitionError(f"Job {job_id} is {old.value}, so it cannot become {new.value}.")


class Clip(Frozen):
    """One audio file of a dataset, as probed when it came in."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the file's bytes: its id, and its name in the store (`clips/<sha256>`)."""
    name: str
    """Path that the person gave it, with forward slashes."""
    num_samples: Annotated[int, Field(ge=1)]
    """Samples per channel at the file's own rate."""
    sample_rate: Annotated[int, Field(ge=1)]
    """The file's own rate in Hz."""
    channels: Annotated[int, Field(ge=1)]
    """Channels of the file."""
    format: str
    """Container and encoding, such as "FLAC PCM_16"."""
    size_bytes: Annotated[int, Field(ge=1)]
    """Bytes of the file."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


class DatasetSnapshot(Frozen):
    """A dataset version: what a job keeps of its dataset, whatever happens to it later."""

    dataset_id: int
    name: str
    version: int
    """1, 2, 3 … for the person."""
    version_hash: str
    """SHA-256 over the sorted hashes of the clips."""
    clips: tuple[Clip, ...]
    """Sorted by name."""


class PreprocessSpec(Frozen):
    """What a preprocess job does, frozen at submission."""

    kind: Literal["preprocess"] = "preprocess"
    dataset: DatasetSnapshot
    features: FeatureConfig


class StartPoint(Frozen):
    """Where a training's first weights come from: a checkpoint of another job, kept for as long as this job is.

    The weights lie in the store under `start_weights_key(sha256)`, so that nothing the other job does reaches them.
    """

    job_id: int
    """The job whose model it was."""
    job_name: str
    """What that job was called then."""
    checkpoint: str
    """Name of its checkpoint."""
    epoch: Annotated[int, Field(ge=0)]
    """Epoch of the checkpoint, counted from 1."""
    step: Annotated[int, Field(ge=0)]
    """Steps that the other job had done."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the weights' file."""


def start_weights_key(sha256: str) -> str:
    """Where the artifact store keeps weights that trainings start from."""
    return f"weights/{sha256}.safetensors"


class TrainSpec(Frozen):
    """What a train job does, frozen at submission; a resume may change epochs and preview settings only."""

    kind: Literal["train"] = "train"
    dataset: DatasetSnapshot
    train: TrainConfig
    start: StartPoint | None = None
    """Unset: the training starts from new weights."""


JobSpec = Annotated[PreprocessSpec | TrainSpec, Field(discriminator="kind")]


class AttemptSpec(Frozen):
    """What the trainer process reads: one attempt of one job."""

    job_id: int
    attempt: Annotated[int, Field(ge=1)]
    spec: JobSpec
    resume: bool = False
    """True when earlier attempts saved a checkpoint: the newest valid one must load, or the attempt fails."""
    checkpoint: str | None = None
    """Name of the one checkpoint to resume from, when a person chose it."""
    checkpoints: tuple[str, ...] | None = None
    """Names of the checkpoints that the record knows; others of earlier attempts are not to be used. None: all are."""
    elapsed_s: float = 0.0
    """Seconds that earlier attempts ran."""
    time_left_s: float | None = None
    """Seconds after which the attempt saves and pauses, because the job's time limit is reached; None for no limit."""
    secret: str = ""
    """Proves that an event or a lease is of this attempt; nobody but its worker gets it."""


AttemptSpecAdapter: Final[TypeAdapter[AttemptSpec]] = TypeAdapter(AttemptSpec)


class Ticket(Frozen):
    """The body of the Celery message."""

    job_id: int
    attempt: int


Outcome = Literal["completed", "cancelled", "paused", "handed_back", "failed", "crashed", "fenced"]
"""How an attempt ended: `handed_back` saved because the worker was told to stop; `failed` for a reason that
another try would meet again; `crashed` without a word, so that another try makes sense; `fenced` because a newer
attempt owns the job, so that nobody has to be told."""


Priority = Literal["low", "normal", "high"]
"""Jobs of a higher priority start before all of a lower one; among equals the queue's order counts."""


class QueueRequest(Frozen):
    """What any job may ask of the queue."""

    dataset: str
    """Name or id of the dataset."""
    name: Annotated[str, Field(max_length=200)] = ""
    """What the job is called; empty for a name made of what it is about."""
    device: Annotated[str, Field(pattern=DEVICE)] = "auto"
    """Which kind of device, or which one: auto, cpu, mps, cuda, cuda:0 …"""
    placement: Placement = Placement()
    """Which workers it may run on, and when."""
    priority: Priority = "normal"
    """Which jobs it goes before."""
    held: bool = False
    """Wait in the queue until a person releases it."""
    after: Annotated[tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...], Field(max_length=100)] = ()
    """Jobs that must have completed before it starts."""


class PreprocessRequest(QueueRequest):
    """Ask for the features of a dataset."""

    kind: Literal["preprocess"] = "preprocess"
    features: FeatureConfig = FeatureConfig()


class StartRequest(Frozen):
    """Start from what another job learned, with a fresh optimizer, on any dataset and with any settings that keep
    the model's shape and its features."""

    job: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """The job to start from."""
    checkpoint: Annotated[str, Field(max_length=64)] = ""
    """Name of its checkpoint; empty for its best one."""


class TrainRequest(QueueRequest):
    """Ask for a training; what is not said comes from the preset."""

    kind: Literal["train"] = "train"
    representation: Representation = "mel"
    """What the model sees of a sound."""
    preset: Literal["auto", "conservative", "balanced", "aggressive"] = "auto"
    """Where the values come from."""
    changes: dict[str, object] = {}
    """Values of TrainConfig that differ from the preset, by field name."""
    start: StartRequest | None = None
    """Start from another job's checkpoint; unset means from new weights. What its weights depend on follows that
    model where it is not said: representation, objective, latent_dim, chunk_s, spectrogram, mask_threshold."""


JobRequest = Annotated[PreprocessRequest | TrainRequest, Field(discriminator="kind")]
JobRequestAdapter: Final[TypeAdapter[PreprocessRequest | TrainRequest]] = TypeAdapter(JobRequest)


class ResumeRequest(Frozen):
    """What a resume may change; everything else stays as the job was submitted."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """New total of epochs; more than before extends the run with a new cosine."""
    preview_every: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Epochs between two previews from now on."""
    refine_steps: RefineSteps | None = None
    """Steps in which a clip's latent is improved on the encoder's guess, in each preview from now on."""
    checkpoint: str | None = None
    """Name of the checkpoint to go on from; unset means the newest valid one."""


CHANGEABLE: Final = tuple(field for field in ResumeRequest.model_fields if field in TrainConfig.model_fields)
"""Fields of TrainConfig that a resume may change."""
