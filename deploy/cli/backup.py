"""`spectrain backup` and `restore`: on the machine of the server, with its data folder; nothing of it needs to run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from api.backup.make import Backup
from api.backup.manifest import BackupManifest
from api.backup.restore import Restore
from api.record.database import HEAD, Database
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import json_option
from deploy.cli.text import count, moment, size
from shared.errors import ConfigError, InUseError, NotFoundError
from shared.redis_client import connect
from shared.settings import Settings
from shared.storage import Storage, open_storage

_SHOWN = 10
"""Most lines of what a backup lacks."""

_data = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder that everything is kept in."
)


@click.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--no-features", is_flag=True, help="Leave the features out: a job that needs them makes them again.")
@_data
@json_option
def backup_command(folder: Path, data: Path | None, *, no_features: bool, as_json: bool) -> int:
    """Copy record, sounds, checkpoints, models and previews to FOLDER, which is new or empty.

    Everything may go on meanwhile; only what would delete something is asked to wait. Run it on the server's machine,
    with the settings of its api. Passwords of Redis are not in it, so machines that joined ask for access again.
    """
    settings = _settings(data)
    with closing(Database(settings.record_url)) as database:
        _check_record(database)
        backup = Backup(database=database, storage=_storage(settings), say=_aside)
        made = backup.make(folder, features=not no_features)
    if as_json:
        click.echo(made.model_dump_json())
    else:
        click.echo(f"{folder} holds {_contents(made)}.")
    for key in made.lost[:_SHOWN]:
        _aside(f"The artifact store has lost {key}, so the backup is without it.")
    if len(made.lost) > _SHOWN:
        _aside(f"And {len(made.lost) - _SHOWN:,} more, which {folder / 'backup.json'} names.")
    return ExitCode.FAILED if made.lost else ExitCode.DONE


@click.command("restore")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Verify every byte, tell what would go where, and leave it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_data
@json_option
def restore_command(folder: Path, data: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Put the backup in FOLDER into an empty data folder, and into the empty store and database of the settings.

    Nothing is ever written over. Paused trainings go on at their exact step; those that ran then are queued again.
    """
    if as_json and dry_run is yes:
        raise click.UsageError("With --json, say either --dry-run or --yes.")
    settings = _settings(data)
    redis = connect(settings.redis_url) if "redis_url" in settings.model_fields_set else None
    with closing(Database(settings.record_url)) as database, _leaving_no_folder(settings):
        restore = Restore(folder, home=settings.data, database=database, storage=_storage(settings), redis=redis)
        manifest = restore.manifest
        _aside(f"Made {moment(manifest.made_at)} by Spectrain {manifest.version}: {_contents(manifest)}.")
        if manifest.lost:
            _aside(f"It lacks {count(len(manifest.lost), 'thing')} that the store had lost already.")
        _aside(f"Goes to {settings.data}, record {_named(database)}, artifact store {settings.storage_url}.")
        with _progress("Verifying") as tell:
            restore.check(tell=tell)
        if not dry_run:
            if not yes:
                click.confirm("Put it back?", abort=True, err=True)
            with _progress("Putting back") as tell:
                restore.put_back(tell=tell)
    if as_json:
        click.echo(manifest.model_dump_json())
    elif dry_run:
        click.echo("Every byte is as it was, and nothing is in the way.")
    else:
        click.echo(f"Everything is back. Start it: spectrain up --data {settings.data}")


def _settings(data: Path | None) -> Settings:
    settings = Settings() if data is None else Settings(data=data.expanduser().absolute())
    if settings.storage_url.startswith(("http://", "https://")):
        raise ConfigError("SPECTRAIN_STORAGE names the api of a server: run this there, where its store is.")
    return settings


def _storage(settings: Settings) -> Storage:
    """The artifact store, as the api opens it."""
    return open_storage(settings.storage_url, cache=settings.store_cache, cache_bytes=settings.cache_bytes)


@contextmanager
def _leaving_no_folder(settings: Settings) -> Generator[None]:
    """Opening a store makes its folder: one that was only looked at goes again."""
    folders = [path for path in (settings.data / "store", settings.data) if not path.exists()]
    try:
        yield
    finally:
        for path in folders:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _check_record(database: Database) -> None:
    schema = database.schema()
    if schema is None:
        raise NotFoundError(f"There is no record at {_named(database)}: name the server's data folder with --data.")
    if schema != HEAD:
        raise InUseError(f"The record at {_named(database)} is of another version of Spectrain: start its api once.")


def _contents(made: BackupManifest) -> str:
    jobs = sum(made.jobs.values())
    return (
        f"{count(made.datasets, 'dataset')}, {count(jobs, 'job')}, {count(made.models, 'model')},"
        f" {count(made.files, 'file')}, {size(made.size_bytes)}"
    )


def _named(database: Database) -> str:
    return str(database.file or database.engine.url.render_as_string())


@contextmanager
def _progress(label: str) -> Generator[Callable[[int, int], None]]:
    """A line aside that says how far it is, where somebody looks."""
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _aside(sentence: str) -> None:
    click.echo(sentence, err=True)
