"""`spectrain token`: what lets people in, and other machines join."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from api.access.roles import Role
from api.access.views import TOKEN_DAYS, NewTokenView, TokenView
from deploy.cli.session import Session, client_command
from deploy.cli.text import moment
from shared.settings import Settings

_DAY_S: Final = 86_400.0


@click.group("token")
def token_command() -> None:
    """Make tokens for people and for machines that join; list and revoke them."""


@token_command.command("create")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="viewer may look; member may also submit, upload, change and stop; admin everything; worker is for a machine.",
)
@click.option("--name", default="", help="Whom or what it is for, such as a person's or a machine's name.")
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=3650),
    default=TOKEN_DAYS,
    show_default=True,
    help="Days until it expires; 0 for never. A machine that joined with it is cut off then.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Make it in this data folder, without a server: as the user that the server runs as. DATABASE_URL counts.",
)
@client_command
def create_command(session: Session, *, role: str, name: str, days: float, data: Path | None) -> None:
    """Make a token; for a worker, print the line to paste on the other machine. The token is shown this one time."""
    if data is None:
        made = session.client.make_token(role=role, name=name, days=days or None)
    else:
        from api.access.first import make_token  # noqa: PLC0415 - the record, for this alone

        expires_at = time.time() + days * _DAY_S if days else None
        made = make_token(Settings(data=data.absolute()), role=Role(role), name=name or role, expires_at=expires_at)

    def render() -> None:
        if not made.command:
            session.say(f"Token {made.id} ({made.name}, {made.role}), {_until(made)}. It is shown this one time:")
            click.echo(f"\n{made.secret}\n")
            return
        session.say(f"Token {made.id} ({made.name}), {_until(made)}. Paste this line on the machine that is to join:")
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
        columns = (">id", "name", "role", "counts", "made", "last used")
        rows = (
            (
                str(token.id),
                token.name,
                token.role,
                _validity(token),
                moment(token.created_at),
                moment(token.last_used_at),
            )
            for token in listed.tokens
        )
        session.table(columns, rows)

    session.show(listed, render)


@token_command.command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(min=1))
@client_command
def revoke_command(session: Session, token_id: int) -> None:
    """Make a token worthless at once; who logged in with it is logged out, workers that joined with it stop."""
    revoked = session.client.revoke_token(token_id)
    session.show(revoked, lambda: session.say(f"Token {revoked.id} ({revoked.name}) is revoked."))


def _until(made: NewTokenView) -> str:
    return "which never expires" if made.expires_at is None else f"which counts until {moment(made.expires_at)}"


def _validity(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {moment(token.revoked_at)}"
    if token.expires_at is None:
        return "for ever"
    return f"{'expired' if token.expires_at < time.time() else 'until'} {moment(token.expires_at)}"
