"""`spectrain token`: what lets other machines join."""

from __future__ import annotations

import time

import click

from api.views import TokenView
from deploy.cli.session import Session, client_command
from deploy.cli.text import moment


@click.group("token")
def token_command() -> None:
    """Make tokens that let other machines join; list and revoke them."""


@token_command.command("create")
@click.option("--worker", is_flag=True, help="For a machine whose devices are to work for this server.")
@click.option("--name", default="", help="What it is for, such as the machine's name.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True, max=3650), help="Days that it counts; else for ever."
)
@client_command
def create_command(session: Session, *, worker: bool, name: str, days: float | None) -> None:
    """Make a token and print the line to paste on the other machine. The token is shown this one time."""
    if not worker:
        raise click.UsageError("Say what the token is for: --worker.")
    made = session.client.make_token(name=name, days=days)

    def render() -> None:
        session.say(f"Token {made.id} ({made.name}). Paste this line on the machine that is to join:")
        click.echo(f"\n{made.command}\n")
        click.echo("It needs Python 3.11 or newer there, and nothing else.", err=True)
        if made.note:
            click.echo(made.note, err=True)

    session.show(made, render)


@token_command.command("ls")
@client_command
def list_command(session: Session) -> None:
    """List tokens, newest first."""
    listed = session.client.tokens()

    def render() -> None:
        columns = (">id", "name", "counts", "made", "last used")
        rows = (
            (str(token.id), token.name, _validity(token), moment(token.created_at), moment(token.last_used_at))
            for token in listed.tokens
        )
        session.table(columns, rows)

    session.show(listed, render)


@token_command.command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(min=1))
@client_command
def revoke_command(session: Session, token_id: int) -> None:
    """Make a token worthless at once; workers that joined with it stop."""
    revoked = session.client.revoke_token(token_id)
    session.show(revoked, lambda: session.say(f"Token {revoked.id} ({revoked.name}) is revoked; its workers stop."))


def _validity(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {moment(token.revoked_at)}"
    if token.expires_at is None:
        return "for ever"
    return f"{'expired' if token.expires_at < time.time() else 'until'} {moment(token.expires_at)}"
