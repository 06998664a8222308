"""`spectrain preprocess` and `spectrain train`: new jobs."""

from __future__ import annotations

import copy
import json
import re
import time
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import click
from pydantic import ValidationError

from api.views import BatchView, JobDetailView
from deploy.cli.api_client import ApiError, UnreachableError
from deploy.cli.exit_codes import ExitCode
from deploy.cli.queue_options import order_options, placement_of, placement_options, placement_values
from deploy.cli.session import Session, client_command
from deploy.cli.text import count, numbers, started_from
from deploy.cli.watch import watch_job
from shared.config import Representation, config_error
from shared.jobs import JobState, PreprocessRequest, StartRequest, TrainRequest

_LOOK_EVERY_S: Final = 0.1
_LOOKS: Final = 20
"""The scheduler has looked at a new job within some tens of milliseconds."""

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


_datasets = click.argument("datasets", metavar="DATASET...", nargs=-1, required=True)
_held = click.option("--held", is_flag=True, help="Wait in the queue until `spectrain jobs release`.")


@click.command("preprocess")
@_datasets
@_representation
@_preset
@_set
@_name
@_device
@order_options
@_held
@placement_options
@_watch
@client_command
def preprocess_command(
    session: Session,
    *,
    datasets: tuple[str, ...],
    representation: Representation | None,
    preset: Preset,
    settings: tuple[str, ...],
    watch: bool,
    **values: Any,
) -> int:
    """Make the features of each DATASET that `train` with the same options reads.

    A training makes them itself where they are missing; doing it beforehand lets the training begin at once.
    """
    _check_watch(watch, len(datasets))
    asked = _queue_values(values)
    requests: list[PreprocessRequest] = []
    for dataset in datasets:
        training = _train_request(
            dataset=dataset, representation=representation, preset=preset, changes=parse_settings(settings)
        )
        features = session.client.check(training).features
        known = {"dataset": dataset, **asked} | ({} if features is None else {"features": features})
        requests.append(_request(PreprocessRequest, known))
    if len(requests) == 1:
        return _submit(session, requests[0], watch=watch)
    return _show_batch(session, session.client.submit_batch(requests))


@click.command("train")
@_datasets
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
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="NAME=VALUE,VALUE…",
    help="A job for each of these values, such as latent_dim=32,64,128; repeatable, for every combination.",
)
@_name
@_device
@order_options
@_held
@placement_options
@_watch
@client_command
def train_command(
    session: Session,
    *,
    datasets: tuple[str, ...],
    representation: Representation | None,
    preset: Preset,
    epochs: int | None,
    start: str | None,
    settings: tuple[str, ...],
    varied: tuple[str, ...],
    watch: bool,
    **values: Any,
) -> int:
    """Train a model on each DATASET, by its name or id.

    Prints the new job, or the batch where there are several. `--set` takes every value of the configuration;
    `jobs show` lists them.
    """
    changes = parse_settings(settings)
    if epochs is not None:
        changes["epochs"] = epochs
    request = _train_request(
        dataset=datasets[0],
        representation=representation,
        preset=preset,
        changes=changes,
        start=None if start is None else parse_start(start),
        **_queue_values(values),
    )
    vary = parse_varied(varied)
    if len(datasets) == 1 and not vary:
        return _submit(session, request, watch=watch)
    _check_watch(watch, 2)
    return _show_batch(session, session.client.sweep(request, datasets=datasets, vary=vary))


def _queue_values(values: dict[str, Any]) -> dict[str, Any]:
    """What the options say of name, device, order and placement, as values of a request; no more than was said."""
    placed = placement_values(values)
    said = {name: value for name, value in values.items() if value not in (None, (), False)}
    return said | ({"placement": placement_of(placed)} if placed else {})


def _check_watch(watch: bool, count: int) -> None:
    if watch and count > 1:
        raise click.UsageError("--watch follows one job: `spectrain jobs watch` follows each of several.")


def parse_varied(varied: tuple[str, ...]) -> dict[str, list[Any]]:
    """NAME=VALUE,VALUE… as lists: values are JSON, else text; a list in brackets is taken as it is.

    Raises click.BadParameter for what is of another form.
    """
    vary: dict[str, list[Any]] = {}
    for each in varied:
        name, equals, text = each.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise click.BadParameter(f"{each!r} is not of the form NAME=VALUE,VALUE.", param_hint="--vary")
        whole = _value(text) if text.lstrip().startswith("[") else None
        values: list[Any] = whole if isinstance(whole, list) else [_value(part.strip()) for part in text.split(",")]
        vary.setdefault(name.strip(), []).extend(values)
    return vary


def parse_settings(settings: tuple[str, ...], changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """NAME=VALUE pairs, beside `changes`, as a nested dictionary: values are JSON, else text; dots lead into parts.

    Raises click.BadParameter for a pair that is none.
    """
    changes = copy.deepcopy(changes or {})
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
    job = explained(session, job)
    start = "" if job.start is None else f" It starts from {started_from(job.start)}."
    session.show(job, lambda: session.say(f"{told(job)}{start}"))
    return ExitCode.DONE


def _show_batch(session: Session, batch: BatchView) -> int:
    session.show(
        batch, lambda: session.say(f"{count(len(batch.jobs), 'job')} in batch {batch.batch}: {numbers(batch.jobs)}.")
    )
    return ExitCode.DONE


def explained(session: Session, job: JobDetailView) -> JobDetailView:
    """A job that has just entered the queue, or changed there, as it is once the server knows why it waits."""
    # What was asked for is done: a server that goes away now must not make a failure of it.
    with suppress(ApiError, UnreachableError):
        for _ in range(_LOOKS):
            if job.state is not JobState.QUEUED or job.reason:
                break
            time.sleep(_LOOK_EVERY_S)
            job = session.client.job(job.id)
    return job


def told(job: JobDetailView) -> str:
    """A job in one sentence."""
    reason = f" {job.reason}" if job.reason else ""
    return f"Job {job.id} ({job.name}, {count(job.dataset.clips, 'clip')}): {job.state.value}.{reason}"
