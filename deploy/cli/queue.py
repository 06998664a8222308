"""`spectrain queue`: show what waits, pause the queue, let it go on."""

from __future__ import annotations

import click

from api.views import QueueView
from deploy.cli.jobs import job_table
from deploy.cli.session import Session, client_command
from deploy.cli.text import moment


@click.group("queue")
def queue_command() -> None:
    """Show, pause and resume the whole queue."""


@queue_command.command("show")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many jobs.")
@client_command
def show(session: Session, limit: int) -> None:
    """Show whether the queue is paused, and what waits, in its order. With --json: only whether it is paused."""
    queue = session.client.queue()

    def render() -> None:
        session.say(_told(queue))
        job_table(session, session.client.jobs({"state": "queued,held", "limit": limit}).jobs)

    session.show(queue, render)


@queue_command.command("pause")
@client_command
def pause(session: Session) -> None:
    """Start nothing that waits; what runs goes on."""
    queue = session.client.set_queue("pause")
    session.show(queue, lambda: session.say(_told(queue)))


@queue_command.command("resume")
@client_command
def resume(session: Session) -> None:
    """Start what waits again."""
    queue = session.client.set_queue("resume")
    session.show(queue, lambda: session.say(_told(queue)))


def _told(queue: QueueView) -> str:
    if not queue.paused:
        return "The queue is open: free workers get what waits."
    return f"The queue is paused since {moment(queue.paused_at)}: spectrain queue resume lets it go on."
