"""Events: facts published about a job.

A writer (a trainer, a supervisor, the api) makes an `Event`; the event bus gives it its number within the job,
1, 2, 3 … without a gap, keeps it in the job's stream and publishes it. The record stores it; browsers draw it.
The body is a union tagged by `type`. Numbers that are not finite travel as null.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from shared.config import Frozen
from shared.jobs import JobState, Outcome

MAX_STEPS_PER_EVENT: Final = 4096

Number = float | None
"""A measured value; null where it was not a finite number."""


def finite(value: float) -> Number:
    """`value`, or None where it is infinite or not a number (JSON knows neither)."""
    return value if math.isfinite(value) else None


class StateChanged(Frozen):
    """The job entered a state. Written by the api alone."""

    type: Literal["state"] = "state"
    state: JobState
    reason: str = ""
    """Why, in one sentence for a person; empty where the state says it all."""
    detail: str = ""
    """Traceback or other detail behind a failure."""
    worker: str = ""
    device: str = ""


class AttemptStarted(Frozen):
    """A trainer process began to work on the attempt."""

    type: Literal["attempt_started"] = "attempt_started"
    worker: str
    device: str
    versions: dict[str, str] = {}
    """Versions that decide whether a resume is exact: torch, python, spectrain, device name."""


class AttemptEnded(Frozen):
    """The trainer process of the attempt is gone."""

    type: Literal["attempt_ended"] = "attempt_ended"
    outcome: Outcome
    reason: str = ""
    """One sentence in plain words."""
    detail: str = ""
    """Traceback or the last lines that the process wrote."""
    step: int = 0
    """Steps done when it ended."""
    elapsed_s: float = 0.0
    """Seconds that this attempt ran."""


class Progress(Frozen):
    """How far the current phase is."""

    type: Literal["progress"] = "progress"
    phase: Literal["features", "setup", "training", "validating", "saving"]
    done: int
    total: int
    message: str = ""
    """What is being done, such as the name of the file."""


class StepMetrics(Frozen):
    """Metrics of consecutive steps, one column each, all of equal length (at most 4,096)."""

    type: Literal["steps"] = "steps"
    step: list[int]
    """Number of the step, counted from 1."""
    epoch: list[int]
    """Epoch that the step belongs to, counted from 1."""
    loss: list[Number]
    reconstruction: list[Number]
    kl: list[Number]
    kl_weight: list[Number]
    learning_rate: list[Number]
    grad_norm: list[Number]
    step_time_s: list[Number]
    total_steps: int
    """Steps that the whole run will have."""


class EpochMetrics(Frozen):
    """Metrics of one finished epoch."""

    type: Literal["epoch"] = "epoch"
    epoch: int
    """Counted from 1."""
    epochs: int
    """Epochs that the whole run will have."""
    step: int
    total_steps: int
    train_loss: Number
    """Mean objective over the epoch's steps, as trained: augmented, by the weights of each step."""
    val_loss: Number = None
    """Objective on the held-out files, evaluation mode; null without validation. It and what follows are told of the
    weights that are kept: their average where the training keeps one."""
    train_reconstruction: Number = None
    """Mean squared error of log-mel on training chunks, evaluation mode, without augmentation."""
    val_reconstruction: Number = None
    """The same on the held-out files; what "best" is judged by."""
    val_kl: Number = None
    """KL term of the objective on the held-out files."""
    kl_divergence: Number = None
    """Raw KL divergence, nats summed over dimensions, averaged over chunks: near zero means collapse."""
    kl_per_dimension: list[Number] = []
    """Raw KL of each latent dimension in nats."""
    active_units: int = 0
    """Latent dimensions whose raw KL is 0.1 nats or more."""
    latent_dim: int = 0
    overfitting_gap: Number = None
    """(validation - training) / training reconstruction error."""
    quality: Number = None
    """1 - gap, limited to 0 … 1: the quality bar."""
    best: bool = False
    """True when this epoch's reconstruction error is the lowest so far."""
    elapsed_s: float
    """Seconds that all attempts ran."""
    eta_s: Number = None
    """Seconds to go, from this attempt's own rate."""
    device_memory_bytes: int | None = None
    """Memory that the training holds on the device; null where the device does not tell."""


class PreviewClip(Frozen):
    """One sound of a preview: 16-bit WAV files, by their names in the preview's folder."""

    kind: Literal["reconstruction", "sample"]
    title: str
    """Name of the clip, or "Random sample 1"."""
    audio: str
    """File name of the model's sound."""
    original: str | None = None
    """File name of the sound that was reconstructed."""
    duration_s: float


class PreviewMade(Frozen):
    """Audio made from the model as it was at a step."""

    type: Literal["preview"] = "preview"
    name: str
    """Folder name: `<attempt>-<step>`; the store keeps it under `jobs/<id>/previews/<name>/`."""
    epoch: int
    step: int
    clips: list[PreviewClip]
    seconds: float
    """How long it took to make."""


CheckpointReason = Literal["interval", "best", "epoch", "save", "cancel", "pause", "shutdown", "final", "imported"]


class CheckpointSaved(Frozen):
    """A checkpoint is durable in the store."""

    type: Literal["checkpoint"] = "checkpoint"
    name: str
    """Folder name: `<attempt>-<step>`; the store keeps it under `jobs/<id>/checkpoints/<name>/`."""
    epoch: int
    """Epoch that the step belongs to, counted from 1."""
    step: int
    """Steps done."""
    reason: CheckpointReason
    best: bool
    """True when it holds the lowest reconstruction error so far."""
    loss: Number = None
    """Objective of the last step."""
    val_reconstruction: Number = None
    size_bytes: int
    seconds: float
    """From the wish to the durable file."""
    kept: list[str] = []
    """Names of the checkpoints that exist after pruning, this one included."""


class Warned(Frozen):
    """Something that a person should know; the training goes on."""

    type: Literal["warning"] = "warning"
    code: Literal[
        "overfitting",
        "collapse",
        "not_a_number",
        "latent_too_large",
        "plateau",
        "checkpoint",
        "restart",
        "disk",
        "data",
    ]
    message: str
    """What is seen, in plain words."""
    advice: str = ""
    """What can be done about it."""
    step: int | None = None


class LogLine(Frozen):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str


EventBody = Annotated[
    StateChanged
    | AttemptStarted
    | AttemptEnded
    | Progress
    | StepMetrics
    | EpochMetrics
    | PreviewMade
    | CheckpointSaved
    | Warned
    | LogLine,
    Field(discriminator="type"),
]


class Event(Frozen):
    """A fact about a job, with its number within the job."""

    job_id: int
    number: Annotated[int, Field(ge=0)] = 0
    """1, 2, 3 … within the job; 0 until the event bus has numbered it."""
    attempt: Annotated[int, Field(ge=0)]
    """Attempt that it belongs to; 0 before the first."""
    at: float
    """Seconds since 1970, by the writer's clock."""
    body: EventBody

    def to_json(self) -> str:
        """Wire form."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Event:
        """Inverse of `to_json`; raises pydantic.ValidationError for anything else."""
        return cls.model_validate_json(text)


EventBodyAdapter: Final[TypeAdapter[EventBody]] = TypeAdapter(EventBody)


class DeviceStatus(Frozen):
    """What a worker tells of its device."""

    name: Annotated[str, Field(pattern=r"^(cuda:\d{1,4}|mps|cpu)$")]
    """cuda:0, mps or cpu."""
    model: str = ""
    """Product name."""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_others_bytes: int | None = None
    """Memory that programs other than the trainer use; null where the system does not tell."""
    utilisation: float | None = None
    """0 … 1; null where the system does not tell."""
    temperature_c: float | None = None


class WorkerHeartbeat(Frozen):
    """A worker says that it is there, every 2 s; not an event of a job. One of a newer version may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)

    type: Literal["worker"] = "worker"
    name: str
    """`<host>/<device>`."""
    host: str
    pid: int
    device: DeviceStatus
    state: Literal["idle", "busy", "stopping", "offline"]
    """`offline` is its last word."""
    job_id: int | None = None
    versions: dict[str, str] = {}
    system: str = ""
    labels: list[str] = []
    """Labels that it was started with."""
    threads: int | None = None
    """Threads that its trainer computes with on the CPU."""
    others_load: float | None = None
    """Share of the machine's processors that programs other than Spectrain used in the last minute, 0 … 1."""
    lease_renewals: Annotated[int, Field(ge=0)] = 0
    """Leases that it has renewed since it was started."""
    started_at: float
    at: float
