"""What the HTTP API answers: one frozen model per resource. The page's and the command line's types.

Times are seconds since 1970 (UTC); durations are seconds; `null` means unknown or not yet.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.config import FeatureConfig, Frozen, PresetName, Representation, TrainConfig
from shared.events import DeviceStatus, Event, Number, PreviewClip
from shared.jobs import JobKind, JobRequest, JobState, Priority, StartPoint
from shared.placement import Label, Placement


class ErrorView(Frozen):
    """Body of every 4xx and 5xx answer."""

    error: str
    """One sentence that says what to do."""
    field: str = ""
    """Dotted name of the field of the request that is wrong; empty when it is not about one."""


class DatasetRef(Frozen):
    """The dataset version of a job."""

    id: int
    name: str
    version: int
    clips: int


class ProgressView(Frozen):
    """How far a job is."""

    phase: str = ""
    """features, setup, training, validating or saving."""
    done: int = 0
    total: int = 0
    message: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    total_steps: int = 0


class WarningView(Frozen):
    """A warning of a job, newest of its code."""

    code: str
    message: str
    advice: str = ""
    step: int | None = None
    at: float


class JobView(Frozen):
    """A job as lists show it."""

    id: int
    kind: JobKind
    name: str
    state: JobState
    reason: str = ""
    """Why it is in this state, or why it waits, in one sentence."""
    detail: str = ""
    """Traceback behind a failure."""
    dataset: DatasetRef
    representation: Representation
    preset: PresetName | None = None
    start: StartPoint | None = None
    """The checkpoint that it started from; null for new weights."""
    attempt: int
    device: str = ""
    """Device that it asks for, until one has it; then that one."""
    worker: str = ""
    wanted_device: str = "auto"
    """Device that it asked for."""
    placement: Placement = Placement()
    priority: Priority = "normal"
    position: float
    """Place among the jobs of its priority: lower starts earlier."""
    batch: int | None = None
    """First job of the batch that it was submitted in."""
    after: list[int] = []
    """Jobs that must have completed before it starts."""
    submitted_by: str = ""
    """Name of the token that it was submitted with; empty where nobody has to log in."""
    progress: ProgressView
    loss: Number = None
    """Objective of the newest step."""
    val_reconstruction: Number = None
    quality: Number = None
    overfitting_gap: Number = None
    active_units: int | None = None
    latent_dim: int | None = None
    steps_per_s: Number = None
    eta_s: Number = None
    elapsed_s: float = 0.0
    """Seconds that its attempts ran."""
    device_memory_bytes: int | None = None
    warnings: list[WarningView] = []
    last_checkpoint: str = ""
    last_checkpoint_step: int | None = None
    last_event: int = 0
    """Number of the newest recorded event."""
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None


class JobDetailView(JobView):
    """A job with its configuration."""

    train: TrainConfig | None = None
    features: FeatureConfig | None = None
    preset_differences: dict[str, object] = {}
    """Fields whose value differs from the preset's, with their value."""
    versions: dict[str, str] = {}
    request: JobRequest | None = None
    """What was asked for, to be asked for again; null for jobs of old versions."""


class JobListView(Frozen):
    jobs: list[JobView]
    """Active ones first, then queued in their order, then ended ones, newest first."""


class QueueView(Frozen):
    """The queue as a whole."""

    paused: bool
    """Nothing that waits is started; what runs goes on."""
    paused_at: float | None = None


class BatchView(Frozen):
    """Jobs that were submitted together."""

    batch: int
    """Number of the first of them, which all of them keep."""
    jobs: list[int]
    """Their numbers, in the order that they were asked for in."""


class BulkResultView(Frozen):
    """What became of one job."""

    job: int
    ok: bool
    error: str = ""
    """Why it was not possible."""


class BulkView(Frozen):
    results: list[BulkResultView]
    """In the order that the jobs were named in."""


class EventListView(Frozen):
    events: list[Event]
    """In the order of their numbers."""
    last: int
    """Number of the newest event that is recorded; fetch again with after=<number of the last one here>."""


class CheckpointView(Frozen):
    name: str
    epoch: int
    step: int
    reason: str
    best: bool
    newest: bool
    pinned: bool = False
    """A person wants to keep it."""
    only_pinned: bool = False
    """Nothing but the pin keeps it: its training has removed its own."""
    loss: Number = None
    val_reconstruction: Number = None
    size_bytes: int
    seconds: float
    at: float


class CheckpointListView(Frozen):
    checkpoints: list[CheckpointView]
    """Newest first; only those that still exist."""


class PreviewView(Frozen):
    name: str
    epoch: int
    step: int
    clips: list[PreviewClip]
    at: float


class PreviewListView(Frozen):
    previews: list[PreviewView]
    """Newest first."""


class ChangeView(Frozen):
    field: str
    before: object
    after: object


class ResumeSummaryView(Frozen):
    """What a person sees before "Continue training"."""

    job: int
    possible: bool
    reason: str = ""
    """Why it is not possible."""
    checkpoint: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    total_steps: int = 0
    loss: Number = None
    val_reconstruction: Number = None
    elapsed_s: float = 0.0
    saved_at: float | None = None
    changes: list[ChangeView] = []


class WorkerView(Frozen):
    name: str
    host: str
    state: str
    """idle, busy, stopping or offline; removed in the last message about one that was."""
    device: DeviceStatus
    job_id: int | None
    heartbeat_age_s: float
    started_at: float
    versions: dict[str, str]
    system: str
    labels: list[str] = []
    """Its own ones and those that a person gave it."""
    own_labels: list[str] = []
    """Those that it was started with, which nobody takes off."""
    drained: bool = False
    """It finishes what it does and gets no more."""
    threads: int | None = None
    others_load: float | None = None
    joined: bool = False
    """It joined with a token, over the network."""
    warning: str = ""
    """What a person should know about it, such as that its version differs."""


class WorkerListView(Frozen):
    workers: list[WorkerView]


class WorkerRequest(Frozen):
    """Names a worker."""

    worker: Annotated[str, Field(min_length=1, max_length=200)]


class LabelsRequest(WorkerRequest):
    """Gives a worker labels."""

    labels: Annotated[tuple[Label, ...], Field(max_length=16)]


class JoinRequest(Frozen):
    """A machine wants to serve with some of its devices."""

    host: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
    """Its name: workers are called `<host>/<device>`."""
    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*(:[0-9]+)?$")] | None = None
    """What the worker is called instead, or with several devices, what stands in the host's place."""
    devices: Annotated[list[Annotated[str, Field(pattern=r"^(cpu|mps|cuda:[0-9]{1,3})$")]], Field(max_length=64)]
    versions: Annotated[dict[str, str], Field(max_length=10)]
    """spectrain, python and torch, as installed there."""
    password_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the password that it made for its Redis users; asking again with the same one changes nothing."""


class JoinedWorkerView(Frozen):
    """One worker process that may run."""

    name: str
    device: str
    redis_url: str
    """Redis protocol server, with the user of this worker alone."""
    needs_password: bool
    """The password that was made there goes into `redis_url`; else everything is in it."""


class JoinView(Frozen):
    """What a machine needs to serve. Times are seconds."""

    workers: list[JoinedWorkerView]
    storage_url: str
    """Artifact store; empty for the api itself, at the address that it was reached by."""
    settings: dict[str, float]
    """Settings of its worker processes that must equal the server's, by name."""
    warnings: list[str]
    """What a person there should know."""


class ReleaseView(Frozen):
    """What runs here, for a machine that is to run the same."""

    version: str
    file: str
    """Name of its wheel, below this address."""
    sha256: str
    torch_index: str
    """Package index that torch comes from; empty for pip's own choice."""


class PresetView(Frozen):
    """What a preset stands for on one dataset: the values of the New job form."""

    preset: PresetName
    recommended_for: str
    train: TrainConfig


class PresetListView(Frozen):
    file_count: int
    presets: list[PresetView]


class CheckView(Frozen):
    """A request that would be accepted, with what it comes to."""

    train: TrainConfig | None = None
    features: FeatureConfig | None = None
    file_count: int
    chunks: int
    steps_per_epoch: int
    total_steps: int
    start: StartPoint | None = None
    """The checkpoint that it would start from; null for new weights."""
    memory_bytes: int | None = None
    """About what it takes of a device's memory."""
    seconds: float | None = None
    """About how long it computes, as fast as earlier trainings here did; null where there is none to go by."""
    warnings: list[str]
    """What a person should know before submitting, such as that no fitting worker is online."""


class SweepCheckView(CheckView):
    """A sweep that would be accepted: what its first job comes to, and what all of them do together."""

    jobs: int
    all_steps: int | None = None
    """Of all jobs; null where they are too many to look at each."""
    all_seconds: float | None = None
    """About how long they compute, one after the other; null where that is not known of each."""
