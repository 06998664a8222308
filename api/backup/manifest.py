"""What a backup is: a folder that tells of itself, readable by its owner alone.

backup.json    this manifest, written last: without it the folder is no backup
record.db      the record, one SQLite file
files.jsonl    key, SHA-256 and size of each file of the artifact store, one JSON object a line
store/<key>    those files
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from shared.config import Frozen
from shared.errors import ConfigError, DamagedError, NotFoundError
from shared.storage import sha256_of
from shared.storage.base import check_key
from shared.storage.folder import explained

MANIFEST_FILE: Final = "backup.json"
RECORD_FILE: Final = "record.db"
LIST_FILE: Final = "files.jsonl"
STORE_FOLDER: Final = "store"
FORMAT: Final = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BackedUpFile(Frozen):
    """A file of the artifact store."""

    key: str
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class BackupManifest(Frozen):
    """What is in a backup."""

    format: Literal[1] = FORMAT
    version: str
    """Of Spectrain."""
    made_at: float
    """Seconds since 1970: the moment that the record is of."""
    datasets: int
    jobs: dict[str, int]
    """How many are in each state."""
    models: int
    """Checkpoints that stay: best, final and pinned ones."""
    features: bool
    """Whether the features are in it; else they are made again when a job needs them."""
    files: int
    size_bytes: int
    """Of the files and the record."""
    record_sha256: Sha256
    list_sha256: Sha256
    lost: list[str] = []
    """Keys that the record points to, and that the store had lost, or had with other bytes, before the backup."""


def read_manifest(folder: Path) -> BackupManifest:
    """The manifest of the backup in `folder`; raises NotFoundError, or ConfigError for one of another version."""
    try:
        return BackupManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise NotFoundError(f"{folder} holds no finished backup: there is no {MANIFEST_FILE} in it.") from error
    except ValidationError as error:
        raise ConfigError(f"{folder / MANIFEST_FILE} cannot be read: another version of Spectrain made it.") from error


def read_files(folder: Path) -> Iterator[BackedUpFile]:
    """The files of the store that the backup lists; raises DamagedError."""
    with explained(str(folder)), (folder / LIST_FILE).open("rb") as lines:
        for line in lines:
            try:
                file = BackedUpFile.model_validate_json(line)
                check_key(file.key)
            except ValidationError as error:
                raise DamagedError(f"{folder / LIST_FILE} is damaged: use another backup.") from error
            yield file


def check_own_files(folder: Path, manifest: BackupManifest) -> None:
    """Raise DamagedError unless record and list have the hashes that the manifest tells."""
    for name, sha256 in ((RECORD_FILE, manifest.record_sha256), (LIST_FILE, manifest.list_sha256)):
        with explained(str(folder / name)):
            if sha256_of(folder / name) != sha256:
                raise DamagedError(f"{folder / name} is damaged: use another backup.")


def write_durable(path: Path, data: bytes) -> None:
    """Put `data` into the file at `path`, whole or not at all, readable by its owner alone."""
    temporary = path.with_name(f"{path.name}.part")
    with explained(str(path)):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def free_bytes(folder: Path) -> int:
    """Space on the disk of `folder`."""
    with explained(str(folder)):
        return shutil.disk_usage(folder).free
