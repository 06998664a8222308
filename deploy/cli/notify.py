"""`spectrain notify`: who is told that a job finished, failed or needs somebody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import click

from api.notify.views import TargetRequest, TargetView
from api.record.notices import Occasion
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import Session, client_command

_OCCASIONS: tuple[Occasion, ...] = ("finished", "failed", "attention")


@click.group("notify")
def notify_command() -> None:
    """Be told when a job finished, failed or needs you: by webhook, e-mail or a hundred services."""


@notify_command.command("add")
@click.argument("url")
@click.option(
    "--on", "occasions", multiple=True, type=click.Choice(_OCCASIONS), help="Of what; repeatable. Default: all."
)
@click.option("--job", type=click.IntRange(min=1), help="Of this job alone.")
@client_command
def add_command(session: Session, url: str, occasions: tuple[str, ...], job: int | None) -> None:
    """Tell URL: https://… for a webhook; else an address of apprise, such as mailto://USER:PASSWORD@HOST or ntfy://TOPIC,
    for which the server needs the extra `notify`.
    """
    chosen = cast(tuple[Occasion, ...], occasions) or _OCCASIONS
    made = session.client.add_target(TargetRequest(url=url, on=chosen, job=job))

    def render() -> None:
        session.say(
            f"Target {made.id}: {made.where} is told. Webhooks are signed with this secret, shown this one time:"
        )
        click.echo(made.secret)
        click.echo(f"See whether it arrives: spectrain notify test {made.id}", err=True)

    session.show(made, render)


@notify_command.command("ls")
@client_command
def list_command(session: Session) -> None:
    """List who is told."""
    listed = session.client.targets()
    session.show(listed, lambda: _list(session, listed.targets))


@notify_command.command("rm")
@click.argument("target_id", metavar="ID", type=click.IntRange(min=1))
@client_command
def remove_command(session: Session, target_id: int) -> None:
    """Tell a target nothing more."""
    left = session.client.remove_target(target_id)
    session.show(left, lambda: session.say(f"Target {target_id} is told nothing more."))


@notify_command.command("test")
@click.argument("target_id", metavar="ID", type=click.IntRange(min=1))
@client_command
def test_command(session: Session, target_id: int) -> int:
    """Send a target something now."""
    result = session.client.try_target(target_id)
    session.show(result, lambda: session.say("It was taken." if result.delivered else result.error))
    return ExitCode.DONE if result.delivered else ExitCode.FAILED


def _list(session: Session, targets: Sequence[TargetView]) -> None:
    rows = (
        (str(each.id), each.where, ", ".join(each.on), str(each.job or "all"), str(each.waiting), each.last_error)
        for each in targets
    )
    session.table((">id", "where", "on", "jobs", ">waiting", "last error"), rows)
