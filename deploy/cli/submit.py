"""`spectrain preprocess` and `spectrain train`: new jobs."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeVar

import click
from pydantic import ValidationError

from api.views import JobDetailView
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import Session, client_command
from deploy.cli.text import count, started_from
from deploy.cli.watch import watch_job
from shared.config import Representation, config_error
from shared.jobs import PreprocessRequest, StartRequest, TrainRequest

PRESETS = ("auto", "conservative", "balanced", "aggressive")
REPRESENTATIONS = ("mel", "mel_if")
Preset = Literal["auto", "conservative", "balanced", "aggressive"]
Request = TypeVar("Request", TrainRequest, PreprocessRequest)

_representation = click.option(
    "--representation",
    type=click.Choice(REPRESENTATIONS),
    show_default="mel, or that of the model that is started from",
    help="What the model sees of a sound: mel is smaller and faster, mel_if also knows the frequencies in each band.",
)
_preset = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="auto",
    show_default=True,
    help="Where the values come from; auto suits any number of files.",
)
_set = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value that differs from the preset, such as latent_dim=32 or spectrogram.hop_length=256; repeatable.",
)
_name = click.option("--name", default="", help="What the job is called.")
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, mps, cuda, cuda:0 …")
_watch = click.option("--watch", is_flag=True, help="Follow the job until it ends; its end decides the exit code.")


@click.command("preprocess")
@click.argument("dataset")
@_representation
@_preset
@_set
@_name
@_device
@_watch
@client_command
def preprocess_command(
    session: Session,
    *,
    dataset: str,
    representation: Representation | None,
    preset: Preset,
    settings: tuple[str, ...],
    name: str,
    device: str,
    watch: bool,
) -> int:
    """Make the features of DATASET that `train` with the same options reads.

    A training makes them itself where they are missing; doing it beforehand lets the training begin at once.
    """
    training = _train_request(
        dataset=dataset, representation=representation, preset=preset, changes=parse_settings(settings)
    )
    features = session.client.check(training).features
    values: dict[str, Any] = {"dataset": dataset, "name": name, "device": device}
    if features is not None:
        values["features"] = features
    return _submit(session, _request(PreprocessRequest, values), watch=watch)


@click.command("train")
@click.argument("dataset")
@_representation
@_preset
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the dataset.")
@click.option(
    "--from",
    "start",
    metavar="JOB[:CHECKPOINT]",
    help="Start from the best checkpoint of another job, or from the one that is named; its model's shape is kept.",
)
@_set
@_name
@_device
@_watch
@client_command
def train_command(
    session: Session,
    *,
    dataset: str,
    representation: Representation | None,
    preset: Preset,
    epochs: int | None,
    start: str | None,
    settings: tuple[str, ...],
    name: str,
    device: str,
    watch: bool,
) -> int:
    """Train a model on DATASET, by its name or id.

    Prints the new job. `--set` takes every value of the configuration; `jobs show` lists them.
    """
    changes = parse_settings(settings)
    if epochs is not None:
        changes["epochs"] = epochs
    request = _train_request(
        dataset=dataset,
        representation=representation,
        preset=preset,
        changes=changes,
        start=None if start is None else parse_start(start),
        name=name,
        device=device,
    )
    return _submit(session, request, watch=watch)


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs as a nested dictionary: values are JSON, else text; dots in names go into parts.

    Raises click.BadParameter for a pair that is none.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        *parts, last = name.strip().split(".")
        if not equals or not last:
            raise click.BadParameter(f"{setting!r} is not of the form NAME=VALUE.", param_hint="--set")
        target = changes
        for part in parts:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise click.BadParameter(f"{part} is set as a whole and in part.", param_hint="--set")
        target[last] = _value(text)
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def parse_start(text: str) -> StartRequest:
    """JOB or JOB:CHECKPOINT; raises click.BadParameter for anything else."""
    match = re.fullmatch(r"(\d{1,9})(?::([\w-]{1,64}))?", text.strip(), re.ASCII)
    if match is None or int(match[1]) < 1:
        raise click.BadParameter(f"{text!r} is not of the form JOB or JOB:CHECKPOINT, such as 3.", param_hint="--from")
    return StartRequest(job=int(match[1]), checkpoint=match[2] or "")


def _train_request(**values: Any) -> TrainRequest:
    # What was not said is not sent: a training that starts from another one follows that one's model.
    return _request(TrainRequest, {name: value for name, value in values.items() if value is not None})


def _request(kind: type[Request], values: dict[str, Any]) -> Request:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise config_error(error) from error


def _submit(session: Session, request: TrainRequest | PreprocessRequest, *, watch: bool) -> int:
    job = session.client.submit(request)
    if watch:
        return watch_job(session, job, after=0)
    start = "" if job.start is None else f" It starts from {started_from(job.start)}."
    session.show(job, lambda: session.say(f"{told(job)}{start}"))
    return ExitCode.DONE


def told(job: JobDetailView) -> str:
    """A job in one sentence."""
    reason = f" {job.reason}" if job.reason else ""
    return f"Job {job.id} ({job.name}, {count(job.dataset.clips, 'clip')}): {job.state.value}.{reason}"
