"""What the HTTP API answers about datasets. Times are seconds since 1970."""

from __future__ import annotations

from shared.config import Frozen


class ClipView(Frozen):
    sha256: str
    name: str
    duration_s: float
    sample_rate: int
    channels: int
    format: str
    size_bytes: int


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
