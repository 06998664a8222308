"""The tables of the record. Times are seconds since 1970; JSON columns hold dumps of our pydantic models."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

RARE: Final = text("type != 'steps'")
"""Which events are quick to find among those of a job; a query for them has to say it in these words."""


class Base(DeclarativeBase):
    """Base of all tables."""


class Dataset(Base):
    """A named, versioned set of audio files."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[float] = mapped_column(Float)


class DatasetClip(Base):
    """A clip that a dataset has now. Its bytes are in the store under `clips/<sha256>`."""

    __tablename__ = "dataset_clips"
    __table_args__ = (UniqueConstraint("dataset_id", "sha256"), Index("ix_dataset_clips_sha256", "sha256"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(1024))
    num_samples: Mapped[int] = mapped_column(Integer)
    sample_rate: Mapped[int] = mapped_column(Integer)
    channels: Mapped[int] = mapped_column(Integer)
    format: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    added_at: Mapped[float] = mapped_column(Float)


class MeasuredSound(Base):
    """What was measured of a clip when it came."""

    __tablename__ = "measured_sounds"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the clip's bytes."""
    peak: Mapped[float] = mapped_column(Float)
    rms: Mapped[float] = mapped_column(Float)
    clipped: Mapped[int] = mapped_column(Integer)
    silent_before: Mapped[int] = mapped_column(Integer)
    silent_after: Mapped[int] = mapped_column(Integer)
    sound_sha256: Mapped[str] = mapped_column(String(64))
    """Of its samples."""


class DatasetVersion(Base):
    """What a dataset held when its content last changed or was used: the snapshot that jobs keep."""

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("dataset_id", "version"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    version: Mapped[int] = mapped_column(Integer)
    version_hash: Mapped[str] = mapped_column(String(64))
    clips: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    """Dumps of its clips, kept once for all jobs that use it; None before the first of them."""
    created_at: Mapped[float] = mapped_column(Float)


class Job(Base):
    """A piece of work, with its frozen specification and where it stands."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_order", "state", "priority", "position"),
        Index("ix_jobs_state_needs", "state", "needs", "priority", "position"),
        # Who is at work is asked at every turn of the scheduler: from here, without a look at the long rows.
        Index("ix_jobs_state_worker", "state", "worker"),
        Index("ix_jobs_position", "position"),
        Index("ix_jobs_ended_at", "ended_at"),
        Index("ix_jobs_names", "name", "dataset_name"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text, default="")
    detail: Mapped[str] = mapped_column(Text, default="")
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"), index=True)
    dataset_name: Mapped[str] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Dump of the JobSpec. Its dataset has a `clip_count` in place of the clips, which are with the dataset's version;
    in jobs of old versions it has the clips."""
    wanted_device: Mapped[str] = mapped_column(String(20))
    """auto, a kind of device, or one device."""
    placement: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    """Dump of the Placement."""
    needs: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    """Hash of wanted device and placement: jobs that wait with equal needs wait for the same workers."""
    priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """-1 low, 0 normal, 1 high."""
    position: Mapped[float] = mapped_column(Float)
    """Place among the jobs of its priority: lower starts earlier."""
    batch: Mapped[int | None] = mapped_column(Integer, default=None, index=True)
    """Id of the first job of the batch that it was submitted in."""
    request: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    """Dump of the JobRequest, for a retry or a duplicate with the same arguments; empty for jobs of old versions."""
    submitted_by: Mapped[str] = mapped_column(String(200), default="", server_default=text("''"))
    """Name of the token that it was submitted with; empty where nobody has to log in, and for jobs of old versions."""
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str] = mapped_column(String(200), default="")
    device: Mapped[str] = mapped_column(String(20), default="")
    assigned_at: Mapped[float | None] = mapped_column(Float, default=None)
    """When the current attempt was given to its worker."""
    ticket_at: Mapped[float | None] = mapped_column(Float, default=None)
    """When its ticket was last sent."""
    wish: Mapped[str] = mapped_column(String(10), default="none")
    """What is wanted of the current attempt: none, cancel, pause, or hand_back (save and queue again)."""
    secret: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    """Secret of the current attempt."""
    checkpoint_choice: Mapped[str] = mapped_column(String(100), default="")
    """The checkpoint that the next attempt must go on from; empty for the newest valid one."""
    fruitless: Mapped[int] = mapped_column(Integer, default=0)
    """Weight of the attempts since the last checkpoint that ended without a new one; see `api.record.attempts`."""
    last_number: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the newest recorded event."""
    summary: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """Dump of the JobSummary: what lists show of the newest events."""
    created_at: Mapped[float] = mapped_column(Float)
    queued_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float, default=None)
    ended_at: Mapped[float | None] = mapped_column(Float, default=None)


class JobDependency(Base):
    """Job `job_id` starts only once job `after_id` has completed."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    after_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True)


class JobEvent(Base):
    """A recorded event. Step metrics are stored as the blocks that they came in."""

    __tablename__ = "job_events"
    __table_args__ = (
        # The few events between the many with step metrics, which need no index of their own.
        Index("ix_job_events_rare", "job_id", "number", sqlite_where=RARE, postgresql_where=RARE),
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(20))
    at: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class StepCurve(Base):
    """How far the step metrics of a job are summed up in `step_chunks`. It can be made anew from the events."""

    __tablename__ = "step_curves"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer)
    """Number of the newest event that is in it."""
    cuts: Mapped[list[list[int]]] = mapped_column(JSON)
    """Where an attempt went on: number of its first event with steps, attempt, first step. Steps from there on that
    came with earlier events do not count any more."""


class StepChunk(Base):
    """4,096 steps of a job in buckets, each a column of doubles after the other; see `api.curves.buckets`."""

    __tablename__ = "step_chunks"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    chunk: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Chunk k holds the steps 4,096 k + 1 … 4,096 (k + 1)."""
    first_number: Mapped[int] = mapped_column(Integer)
    last_number: Mapped[int] = mapped_column(Integer)
    """The events that brought its steps have numbers from the first to the last."""
    whole: Mapped[bytes] = mapped_column(LargeBinary)
    """One bucket. The smaller ones stand before the larger ones: SQLite need not read what lies behind."""
    coarse: Mapped[bytes] = mapped_column(LargeBinary)
    """Buckets of 256 steps."""
    fine: Mapped[bytes] = mapped_column(LargeBinary)
    """Buckets of 16 steps."""


class Checkpoint(Base):
    """A checkpoint that exists in the store."""

    __tablename__ = "checkpoints"
    __table_args__ = (Index("ix_checkpoints_models", "is_model", "at", "job_id", "name"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    step: Mapped[int] = mapped_column(Integer)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Dump of the CheckpointSaved event."""
    representation: Mapped[str] = mapped_column(String(20), default="", server_default=text("''"))
    """Of the job."""
    best: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """The job's best one as it stands."""
    final: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """A training's end."""
    pinned: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """A person wants to keep it: the api has a copy of its own."""
    only_pinned: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """Its trainer has removed its own, as it does when newer ones come."""
    is_model: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """Best, final or pinned: one that stays."""


class Preview(Base):
    """A preview in the store."""

    __tablename__ = "previews"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    step: Mapped[int] = mapped_column(Integer)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Dump of the PreviewMade event."""


class Outbox(Base):
    """Events of the api itself, written with the change that they tell of, until the event bus has them."""

    __tablename__ = "outbox"
    __table_args__ = {"sqlite_autoincrement": True}  # an id is never used twice: the bus counts on it

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    at: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class QueueSetting(Base):
    """A setting of the whole queue, such as whether it is paused."""

    __tablename__ = "queue_settings"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSON)


class Worker(Base):
    """A worker that was seen, with what a person decided about it."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    labels: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Given by a person; the worker's own ones are in its heartbeat."""
    drained: Mapped[bool] = mapped_column(Boolean, default=False)
    """It finishes what it does and gets no more."""
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"), default=None)
    """What it joined with; None for one that was started beside the api."""
    redis_sha256: Mapped[str] = mapped_column(String(64), default="")
    """Hash of the password of its Redis user; empty where it has none."""
    heartbeat: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """Dump of the newest WorkerHeartbeat that was kept: once a minute and at each change of its state."""
    first_seen_at: Mapped[float] = mapped_column(Float)
    last_seen_at: Mapped[float] = mapped_column(Float)


class Token(Base):
    """A secret by which people and machines show who they are; only its SHA-256 is kept."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20))
    """admin, member, viewer or worker."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float, default=None)
    revoked_at: Mapped[float | None] = mapped_column(Float, default=None)
    last_used_at: Mapped[float | None] = mapped_column(Float, default=None)


class BrowserSession(Base):
    """A browser that logged in with a token; only the SHA-256 of its secret is kept."""

    __tablename__ = "sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float, index=True)


class NotificationTarget(Base):
    """Somebody who is told what becomes of jobs."""

    __tablename__ = "notification_targets"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    """Where; it may hold passwords."""
    secret: Mapped[str] = mapped_column(String(64))
    """What webhooks are signed with."""
    occasions: Mapped[list[Any]] = mapped_column(JSON)
    """finished, failed, attention."""
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), default=None)
    """The only job that it is told of; None for all."""
    last_error: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """Why the newest try failed; empty when it did not."""
    created_at: Mapped[float] = mapped_column(Float)


class Notification(Base):
    """Something that a target is to be told, or was."""

    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("target_id", "job_id", "key"), Index("ix_notifications_due_at", "due_at"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("notification_targets.id", ondelete="CASCADE"))
    job_id: Mapped[int] = mapped_column(Integer)
    key: Mapped[str] = mapped_column(String(100))
    """What it tells of that job; nobody is told the same twice."""
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    created_at: Mapped[float] = mapped_column(Float)
    due_at: Mapped[float | None] = mapped_column(Float)
    """When it is to be tried next; None once it was delivered or given up."""
