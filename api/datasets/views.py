"""What the HTTP API answers about datasets. Times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.config import Frozen


class ClipView(Frozen):
    sha256: str
    name: str
    duration_s: float
    sample_rate: int
    channels: int
    format: str
    size_bytes: int
    peak: float | None = None
    """Largest absolute sample; 1 is full scale. Null where it was never measured, as is the next one."""
    rms: float | None = None
    clipped: int = 0
    """Samples that lie at full scale between two others that do."""
    silent_before_s: float = 0.0
    """Silence (under -60 dBFS) at the beginning, all of it where nothing else is there."""
    silent_after_s: float = 0.0
    same_as: str = ""
    """The clip before it that has the very same samples in another file."""


class ClipsRequest(Frozen):
    """Names clips of a dataset."""

    clips: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1, max_length=20_000)]
    """Their hashes."""


class DatasetView(Frozen):
    """A dataset as lists show it."""

    id: int
    name: str
    version: int
    """Of its content as it is now."""
    clips: int
    duration_s: float
    size_bytes: int
    sample_rates: list[int]
    channels: list[int]
    jobs: int
    """Jobs that use any version of it."""
    created_at: float


class DatasetDetailView(DatasetView):
    files: list[ClipView]


class DatasetListView(Frozen):
    datasets: list[DatasetView]


class DatasetRequest(Frozen):
    name: str


class FileResultView(Frozen):
    """What became of one file."""

    name: str
    result: str
    """added, duplicate or refused."""
    reason: str = ""
    """Why it was refused, or which clip it equals."""
    sha256: str = ""


class UploadView(Frozen):
    dataset: DatasetView
    files: list[FileResultView]
