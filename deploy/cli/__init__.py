"""The `spectrain` command line: `up`, `api` and `worker` run Spectrain, the others are clients of its HTTP API.

Only what every command needs is imported here, so that help appears at once; nothing below loads torch.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Final, NoReturn, cast

import click
from typing_extensions import override

from deploy.cli.exit_codes import ExitCode
from shared.errors import ConfigError, InUseError, NotFoundError, SpectrainError, TransitionError

_COMMANDS: Final = {
    "up": "deploy.cli.serve",
    "api": "deploy.cli.serve",
    "worker": "deploy.cli.serve",
    "dataset": "deploy.cli.datasets",
    "preprocess": "deploy.cli.submit",
    "train": "deploy.cli.submit",
    "jobs": "deploy.cli.jobs",
    "queue": "deploy.cli.queue",
    "workers": "deploy.cli.workers",
    "token": "deploy.cli.tokens",
    "login": "deploy.cli.login",
    "logout": "deploy.cli.login",
    "notify": "deploy.cli.notify",
    "model": "deploy.cli.models",
    "gc": "deploy.cli.garbage",
    "backup": "deploy.cli.backup",
    "restore": "deploy.cli.backup",
    "doctor": "deploy.cli.doctor",
}
"""Module of each command: its function is called `<name>_command`."""

_SHORT_HELP: Final = {
    "up": "Run everything on this machine; Ctrl-C stops it.",
    "api": "Run the api alone.",
    "worker": "Join a server on another machine, or run one worker alone.",
    "dataset": "Add, list and delete datasets.",
    "preprocess": "Make the features of a dataset.",
    "train": "Train a model on a dataset.",
    "jobs": "List, watch, order, change, cancel, resume and delete jobs.",
    "queue": "Show, pause and resume the queue.",
    "workers": "List workers; drain, resume, label and remove one.",
    "token": "Make tokens for people and for machines that join; list and revoke them.",
    "login": "Log in to a server with a token.",
    "logout": "Forget the token of a server.",
    "notify": "Be told when a job finished, failed or needs you.",
    "model": "List and download models; import those that were trained elsewhere.",
    "gc": "Remove what the server keeps and nobody needs, after a look at it.",
    "backup": "Copy everything that the server keeps to a folder, while it runs.",
    "restore": "Put a backup into an empty data folder.",
    "doctor": "Look for what is wrong with this machine.",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        return cast(click.Command, getattr(module, f"{cmd_name}_command"))

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SHORT_HELP.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code.value:<4}{code.meaning}" for code in ExitCode),
)
@click.option("--server", metavar="URL", help="Address of the server for all commands; also SPECTRAIN_SERVER.")
@click.version_option(package_name="spectrain")
def spectrain(server: str | None) -> None:
    """Train audio models on your own sounds.

    Start everything with `spectrain up`, then use the page or these commands. Every command takes --json and then
    writes nothing but JSON to standard output.
    """
    del server  # read by the commands from the root of their context


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code, with the reason on standard error."""
    try:
        result: object = spectrain.main(list(arguments), prog_name="spectrain", standalone_mode=False)
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        _tell(arguments, error.format_message(), usage=error)
        return error.exit_code
    except SpectrainError as error:
        _tell(arguments, str(error), field=str(getattr(error, "field", "")))
        return exit_code_of(error)
    return result if isinstance(result, int) else ExitCode.DONE


def exit_code_of(error: SpectrainError) -> int:
    """The exit code that tells a program what kind of error it was."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code
    if isinstance(error, ConfigError):
        return ExitCode.WRONG_INPUT
    if isinstance(error, (NotFoundError, TransitionError, InUseError)):
        return ExitCode.CONFLICT
    return ExitCode.FAILED


def _tell(
    arguments: Sequence[str], sentence: str, *, field: str = "", usage: click.ClickException | None = None
) -> None:
    if "--json" in arguments:
        click.echo(json.dumps({"error": sentence, "field": field}))
    elif usage is not None:
        usage.show()
    else:
        named = sentence if not field or sentence.startswith(field) else f"{field}: {sentence}"
        click.echo(f"Error: {named}", err=True)


def main() -> NoReturn:
    """Entry of the `spectrain` program."""
    sys.exit(run(sys.argv[1:]))
