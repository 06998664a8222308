"""`spectrain model download`: a checkpoint's weights and configuration as files, as the page Models gives them."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from api.views import CheckpointView
from deploy.cli.api_client import ApiClient
from deploy.cli.job_actions import job_id_argument
from deploy.cli.session import Session, client_command
from deploy.cli.text import size
from shared.errors import InUseError, NotFoundError, StorageError


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that is where it was wanted."""

    path: str
    size_bytes: int
    written: bool
    """False where the very same was there already."""


@click.command("download")
@job_id_argument
@click.option(
    "--checkpoint", metavar="NAME", default="", help="Which one. Default: the best, else the final, else the newest."
)
@click.option(
    "--to",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where the files go; made where there is none. Default: the current folder.",
)
@client_command
def download_model(session: Session, job_id: int, checkpoint: str, folder: Path) -> None:
    """Write the weights (safetensors) and the configuration (JSON) of a job's model to files.

    `spectrain model ls` lists models, `spectrain jobs checkpoints JOB` all checkpoints of a job. Nothing is written
    over.
    """
    found = _find(session.client.checkpoints(job_id).checkpoints, job_id, checkpoint)
    try:
        files = _bring(session.client, job_id, found.name, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written to ({error.strerror or error}): choose another folder with --to."
        ) from error
    marks = _marks(found)
    if session.as_json:
        told = {"job": job_id, "checkpoint": found.name, "epoch": found.epoch, "step": found.step, "marks": marks}
        session.write_json({**told, "files": [asdict(file) for file in files]})
        return
    marked = f" ({', '.join(marks)})" if marks else ""
    session.say(f"Job {job_id}, checkpoint {found.name}{marked}: epoch {found.epoch}, step {found.step:,}.")
    for file in files:
        session.say(f"{'written' if file.written else 'there already'}: {file.path} ({size(file.size_bytes)})")


def _find(known: Sequence[CheckpointView], job_id: int, name: str) -> CheckpointView:
    """The checkpoint called `name` out of `known`, newest first; without a name the best, the final or the newest."""
    if not known:
        raise NotFoundError(f"Job {job_id} has saved nothing yet: `spectrain jobs show {job_id}` tells how far it is.")
    if not name:
        return min(known, key=lambda one: (not one.best, not _is_final(one)))
    named = [one for one in known if one.name == name]
    if not named:
        raise NotFoundError(
            f"Job {job_id} has no checkpoint {name!r} (any more): `spectrain jobs checkpoints {job_id}` lists those"
            " that it has."
        )
    return named[0]


def _marks(checkpoint: CheckpointView) -> list[str]:
    """Why a person would want it."""
    marks = {
        "best": checkpoint.best,
        "final": _is_final(checkpoint),
        "newest": checkpoint.newest,
        "pinned": checkpoint.pinned,
    }
    return [mark for mark, holds in marks.items() if holds]


def _is_final(checkpoint: CheckpointView) -> bool:
    return checkpoint.reason == "final"


def _bring(client: ApiClient, job_id: int, checkpoint: str, folder: Path) -> list[_File]:
    """Put weights and configuration into `folder`: both, or none. Raises InUseError where something is in the way."""
    folder.mkdir(parents=True, exist_ok=True)
    # They get their names when both are whole, by a rename within the same disk.
    with tempfile.TemporaryDirectory(prefix=".spectrain-", dir=folder) as beside:
        brought = [get(job_id, checkpoint, Path(beside)) for get in (client.weights, client.model_config)]
        missing = [file for file in brought if not _is_there(file, folder / file.name)]
        files = [
            _File(path=str(folder / file.name), size_bytes=file.stat().st_size, written=file in missing)
            for file in brought
        ]
        for file in missing:
            file.rename(folder / file.name)
    return files


def _is_there(file: Path, target: Path) -> bool:
    """Whether `target` is the same as `file` already; raises InUseError where it is something else."""
    if not os.path.lexists(target):
        return False
    if target.is_file() and filecmp.cmp(file, target, shallow=False):
        return True
    raise InUseError(f"{target} is there with other content, and is left as it is: choose another folder with --to.")
