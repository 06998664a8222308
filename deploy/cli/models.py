"""`spectrain model`: list what trainings made, download it; import models that were trained elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from api.keeping.views import ModelListView, ModelView
from deploy.cli.api_client import ApiClient
from deploy.cli.foreign_weights import is_safetensors
from deploy.cli.model_download import download_model
from deploy.cli.session import Session, client_command
from deploy.cli.text import moment, number, size
from shared.errors import ConfigError

_CHILD: Final = Path(__file__).with_name("foreign_weights.py")
_TIMEOUT_S: Final = 600.0
_SHOWN_BYTES: Final = 1 << 20
_PAGE: Final = 500
"""Most models that the server lists at once."""


@click.group("model")
def model_command() -> None:
    """List models, download them, and import those that were trained elsewhere. JOB is a job's number."""


model_command.add_command(download_model)


@model_command.command("ls")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@client_command
def list_command(session: Session, limit: int) -> None:
    """List models, newest first: the best and the final checkpoint of every training, and those that are pinned."""
    listed = _list(session.client, limit)

    def render() -> None:
        if not listed.models:
            session.say("There are no models yet: spectrain train DATASET makes one.")
            return
        columns = [">job", "name", "checkpoint", ">epoch", ">step", "kept as", "sees", "dataset"]
        session.table([*columns, ">held-out error", ">size", "saved"], [_row(model) for model in listed.models])
        if listed.next:
            session.say("There are more: a larger --limit lists them, too.")

    session.show(listed, render)


@model_command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="What it is called; the file's name where none is given.")
@click.option(
    "--description",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON with model, features and scaling, for a file that does not tell them itself.",
)
@client_command
def import_command(session: Session, file: Path, name: str, description: Path | None) -> None:
    """Have the model in FILE appear in Models, so that trainings can start from it.

    FILE is safetensors, such as Spectrain's own downloads, or what torch.save made of a state dict: that is read
    with weights_only in a process with limits, so that nothing in it is run. One that does not fit is refused with
    the reason.
    """
    described = "" if description is None else _read_description(description)
    with tempfile.TemporaryDirectory(prefix="spectrain-import-") as folder:
        weights = file
        if described or not is_safetensors(file):
            weights = Path(folder) / "model.safetensors"
            _convert(file, weights, described)
        job = session.client.import_model(name or file.stem, weights)

    def render() -> None:
        session.say(f"Imported as job {job.id} ({job.name}). Start from it: spectrain train DATASET --from {job.id}")

    session.show(job, render)


def _list(client: ApiClient, limit: int) -> ModelListView:
    """The newest models, at most `limit`, page by page."""
    page = client.models({"limit": min(limit, _PAGE)})
    models = page.models
    while page.next and len(models) < limit:
        page = client.models({"limit": min(limit - len(models), _PAGE), "after": page.next})
        models = [*models, *page.models]
    return ModelListView(models=models, next=page.next)


def _row(model: ModelView) -> tuple[str, ...]:
    return (
        str(model.job),
        model.job_name,
        model.checkpoint,
        str(model.epoch),
        f"{model.step:,}",
        ", ".join(name for name in ("best", "final", "pinned") if getattr(model, name)),
        model.representation,
        model.dataset_name,
        number(model.val_reconstruction),
        size(model.size_bytes),
        moment(model.at),
    )


def _read_description(path: Path) -> str:
    try:
        return json.dumps(json.loads(path.read_bytes()[:_SHOWN_BYTES]))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: give model, features and scaling as JSON.") from error


def _convert(source: Path, target: Path, description: str) -> None:
    """Write the weights of `source` to `target` as safetensors; raises ConfigError with the reason."""
    command = [sys.executable, "-I", str(_CHILD), str(source.absolute()), str(target), description]
    try:
        done = subprocess.run(
            command,
            cwd=target.parent,
            env={"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HOME": str(target.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
        refused: str = json.loads(done.stdout)["refused"]
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{source.name} takes too long to read, so it is refused.", field="file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{source.name} brings its reader down, so it is refused.", field="file") from error
    if refused:
        raise ConfigError(
            f"{source.name} is neither safetensors nor plain weights of torch.save, so it is refused ({refused}).",
            field="file",
        )
