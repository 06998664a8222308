"""What a route finds beside its request: the parts of the api, made by `create_app` and kept with the application."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from flask import current_app

from api.access.door import Door
from api.access.tokens import Tokens
from api.datasets.pictures import SoundPictures
from api.datasets.uploads import Uploads
from api.keeping.deletion import Deletion
from api.keeping.disk_use import DiskUse
from api.keeping.garbage import Garbage
from api.keeping.imports import Imports
from api.keeping.pins import Pins
from api.notify.targets import Targets
from api.queue.batches import Batches
from api.queue.edits import JobEdits
from api.queue.submission import Submission
from api.record.datasets import DatasetRecord
from api.store.uploads import ArtifactUploads

if TYPE_CHECKING:
    from api.core import Core

EXTENSION: Final = "spectrain"


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of the routes."""

    core: Core
    datasets: DatasetRecord
    uploads: Uploads
    pictures: SoundPictures
    submission: Submission
    batches: Batches
    edits: JobEdits
    pins: Pins
    deletion: Deletion
    disk_use: DiskUse
    garbage: Garbage
    imports: Imports
    targets: Targets
    tokens: Tokens
    door: Door
    dist: Path
    """Folder of the built page."""
    artifact_uploads: ArtifactUploads


def services() -> Services:
    """Those of the application that serves the current request."""
    return cast(Services, current_app.extensions[EXTENSION])
