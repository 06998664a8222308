"""What every command of the client has: `--server`, `--json`, a client, and how answers are written."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from deploy.cli.api_client import ApiClient, UnreachableError
from deploy.cli.kept_tokens import read_tokens, token_for

DEFAULT_SERVER: Final = "http://127.0.0.1:8000"
_WIDE: Final = 200
"""Columns where there is no terminal: nothing is cut off in a file or a pipe."""


class Session:
    """The server that a command talks to, and where its answer goes."""

    def __init__(self, client: ApiClient, *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json
        self.console = make_console()

    def show(self, answer: BaseModel, render: Callable[[], None]) -> None:
        """Write `answer` as JSON for a program, else call `render`."""
        if self.as_json:
            self.write_json(answer)
        else:
            render()

    def write_json(self, answer: BaseModel | dict[str, Any]) -> None:
        """One line of JSON on standard output."""
        text = answer.model_dump_json() if isinstance(answer, BaseModel) else json.dumps(answer)
        click.echo(text)

    def say(self, text: str) -> None:
        """A sentence for the person: on standard output, or aside where that is for JSON."""
        click.echo(text, err=self.as_json)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; columns named with a leading `>` are numbers."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and values, one pair a line; pairs without a value are left out."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            if value:
                table.add_row(name, value)
        self.console.print(table)


def make_console() -> Console:
    """A console that takes names of files and jobs as they are, not as mark-up."""
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write nothing but JSON to standard output.")(function)


def client_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--server` and `--json`; the function gets a Session as its first argument."""

    @functools.wraps(function)
    def run(*, server: str | None, as_json: bool, **values: Any) -> Any:
        context = click.get_current_context()
        address = server_of(context, server)
        try:
            with ApiClient(address, token=token_for(address)) as client:
                return function(Session(client, as_json=as_json), **values)
        except UnreachableError as error:
            elsewhere = sorted(read_tokens()) if address == DEFAULT_SERVER else []
            if not elsewhere:
                raise
            raise UnreachableError(f"{error} You are logged in at {elsewhere[0]}: --server {elsewhere[0]}.") from error

    server = click.option(
        "--server", metavar="URL", help=f"Address of the server; also SPECTRAIN_SERVER. Default: {DEFAULT_SERVER}."
    )
    return server(json_option(run))


def server_of(context: click.Context, server: str | None) -> str:
    """The address to use: the command's own option, the one before it, the environment, the default."""
    return server or context.find_root().params.get("server") or os.environ.get("SPECTRAIN_SERVER") or DEFAULT_SERVER
