"""`spectrain login` and `logout`: the token by which this user's commands are known to a server."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from deploy.cli.api_client import ApiClient
from deploy.cli.kept_tokens import forget_token, keep_token
from deploy.cli.session import Session, json_option, server_of
from shared.addresses import is_loopback
from shared.errors import ConfigError


@click.command("login")
@click.argument("url", required=False)
@json_option
def login_command(url: str | None, *, as_json: bool) -> None:
    """Log in to the server at URL with a token, which later commands show there.

    The token is asked for, or read from standard input, and kept in a file that nobody but you can read. Where
    SPECTRAIN_TOKEN is set, that counts instead. Without URL, the server is that of SPECTRAIN_SERVER.
    """
    server = server_of(click.get_current_context(), url).rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("Name the server by its address, such as http://192.168.1.5:8000.", field="url")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        click.echo(
            f"Warning: what you send to {server} is not encrypted: do this in a network that you trust.", err=True
        )
    token = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    with ApiClient(server, token=str(token).strip()) as client:
        session = Session(client, as_json=as_json)
        who = client.session()
        path = keep_token(server, str(token).strip())
        told = f"Logged in to {server} as {who.name} ({who.role}). The token is kept in {path}."
        if server != server_of(click.get_current_context(), None).rstrip("/"):
            told += f" To have every command ask there: export SPECTRAIN_SERVER={server}"
        session.show(who, lambda: session.say(told))


@click.command("logout")
@click.argument("url", required=False)
@json_option
def logout_command(url: str | None, *, as_json: bool) -> None:
    """Forget the token of the server at URL here. The token itself stays valid: `spectrain token revoke` ends it."""
    server = server_of(click.get_current_context(), url).rstrip("/")
    known = forget_token(server)
    with ApiClient(server) as client:
        session = Session(client, as_json=as_json)
        if as_json:
            session.write_json({"forgotten": known})
        else:
            session.say(f"The token for {server} is forgotten." if known else f"No token was kept for {server}.")
