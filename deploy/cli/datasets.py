"""`spectrain dataset`: add files, list, show and delete datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.datasets.views import DatasetView, FileResultView
from deploy.cli.api_client import ApiClient, ApiError, UnreachableError
from deploy.cli.deletion import delete_dataset
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import Session, client_command
from deploy.cli.text import count, duration, moment, size
from shared.errors import AudioError

AUDIO_SUFFIXES: Final = frozenset(
    {
        *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"),
    }
)
"""What is taken out of folders. A file that is named itself is sent whatever it is called: the server looks inside."""
_BATCH_FILES: Final = 50
_BATCH_BYTES: Final = 64 << 20
_TRIES: Final = 4

NamedFile = tuple[str, Path]


@click.group("dataset")
def dataset_command() -> None:
    """Add, list and delete datasets: named sets of audio files."""


dataset_command.add_command(delete_dataset)


@dataset_command.command("add")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@client_command
def add(session: Session, name: str, paths: tuple[Path, ...]) -> int:
    """Add audio files, and all audio files of folders, to the dataset NAME; it is made where there is none.

    Files that are there already are recognised by their content. A file that cannot be used is refused with its
    reason, and the others proceed. Exit code 0 when at least one file was added or was there already.
    """
    files = list(audio_files(paths))
    if not files:
        raise AudioError(f"There are no audio files in {', '.join(map(str, paths))}.")
    dataset = _open_dataset(session.client, name)
    results: list[FileResultView] = []
    with _progress(session) as progress:
        task = progress.add_task(f"Uploading to {name}", total=len(files))
        for batch in batches(files):
            answers, dataset = _send(session.client, dataset, batch)
            results.extend(answers)
            progress.advance(task, len(batch))
    _report(session, dataset, results)
    return ExitCode.FAILED if all(result.result == "refused" for result in results) else ExitCode.DONE


@dataset_command.command("ls")
@client_command
def ls(session: Session) -> None:
    """List all datasets."""
    answer = session.client.datasets()

    def render() -> None:
        if not answer.datasets:
            session.say("There are no datasets yet: spectrain dataset add NAME FOLDER")
            return
        rows = [
            (
                str(dataset.id),
                dataset.name,
                str(dataset.version),
                str(dataset.clips),
                duration(dataset.duration_s),
                size(dataset.size_bytes),
                str(dataset.jobs),
                moment(dataset.created_at),
            )
            for dataset in answer.datasets
        ]
        session.table([">id", "name", ">version", ">clips", ">length", ">size", ">jobs", "made"], rows)

    session.show(answer, render)


@dataset_command.command("show")
@click.argument("name")
@client_command
def show(session: Session, name: str) -> None:
    """Show a dataset, by its name or id, and its files."""
    dataset = session.client.dataset(name)

    def render() -> None:
        session.pairs(
            [
                ("Dataset", f"{dataset.name} (id {dataset.id}), version {dataset.version}"),
                ("Content", _content(dataset)),
                ("Sample rates", ", ".join(f"{rate} Hz" for rate in dataset.sample_rates)),
                ("Channels", ", ".join(map(str, dataset.channels))),
                ("Used by", count(dataset.jobs, "job")),
            ]
        )
        if dataset.files:
            session.console.print()
        rows = [
            (clip.name, f"{clip.duration_s:.2f} s", f"{clip.sample_rate} Hz", str(clip.channels), clip.format)
            for clip in dataset.files
        ]
        session.table(["file", ">length", ">rate", ">channels", "format"], rows)

    session.show(dataset, render)


def audio_files(paths: Sequence[Path]) -> Iterator[NamedFile]:
    """Every audio file at and below `paths` with the name that it gets: relative, beginning with the folder's own."""
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        top = path.resolve()
        for file in sorted(top.rglob("*")):
            relative = file.relative_to(top)
            hidden = any(part.startswith(".") for part in relative.parts)
            if not hidden and file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
                yield f"{top.name}/{relative.as_posix()}".lstrip("/"), file


def batches(files: Sequence[NamedFile]) -> Iterator[list[NamedFile]]:
    """Groups of files that travel in one request: at most 50 files, and 64 MiB unless a single file is larger."""
    batch: list[NamedFile] = []
    total = 0
    for name, path in files:
        length = path.stat().st_size
        if batch and (len(batch) == _BATCH_FILES or total + length > _BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append((name, path))
        total += length
    if batch:
        yield batch


def _open_dataset(client: ApiClient, name: str) -> DatasetView:
    try:
        return client.make_dataset(name)
    except ApiError as error:
        if error.status != 409:
            raise
    known = [dataset for dataset in client.datasets().datasets if dataset.name == name]
    return known[0] if known else client.dataset(name)


def _send(client: ApiClient, dataset: DatasetView, batch: list[NamedFile]) -> tuple[list[FileResultView], DatasetView]:
    """Send one batch; what cannot be sent counts as refused. Sending again is harmless: content is the address."""
    readable: list[NamedFile] = []
    refused: list[FileResultView] = []
    for name, path in batch:
        try:
            path.open("rb").close()
        except OSError as error:
            refused.append(FileResultView(name=name, result="refused", reason=f"It cannot be read: {error.strerror}."))
        else:
            readable.append((name, path))
    if not readable:
        return refused, dataset
    for tries_left in reversed(range(_TRIES)):
        try:
            answer = client.upload(str(dataset.id), readable)
        except UnreachableError:
            if not tries_left:
                raise
        except ApiError as error:
            if error.status != 413:
                raise
            if len(readable) == 1:
                return [*refused, FileResultView(name=readable[0][0], result="refused", reason=str(error))], dataset
            for single in readable:
                results, dataset = _send(client, dataset, [single])
                refused.extend(results)
            return refused, dataset
        else:
            return [*refused, *answer.files], answer.dataset
    raise AssertionError("the last try returns or raises")


def _progress(session: Session) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = session.as_json or not session.console.is_terminal
    return Progress(*columns, console=session.console, transient=True, disable=hidden)


def _report(session: Session, dataset: DatasetView, results: list[FileResultView]) -> None:
    if session.as_json:
        answer: dict[str, Any] = {
            "dataset": dataset.model_dump(mode="json"),
            "files": [result.model_dump(mode="json") for result in results],
        }
        session.write_json(answer)
        return
    for result in results:
        if result.result == "refused":
            named = result.reason if result.name in result.reason else f"{result.name}: {result.reason}"
            session.say(f"refused: {named}")
    counts = {kind: sum(result.result == kind for result in results) for kind in ("added", "duplicate", "refused")}
    told = [f"{counts['added']:,} added"]
    if counts["duplicate"]:
        told.append(f"{counts['duplicate']:,} there already")
    if counts["refused"]:
        told.append(f"{counts['refused']:,} refused")
    session.say(f"{dataset.name}: {', '.join(told)}; now {_content(dataset)}.")


def _content(dataset: DatasetView) -> str:
    return f"{count(dataset.clips, 'clip')}, {duration(dataset.duration_s)}, {size(dataset.size_bytes)}"
