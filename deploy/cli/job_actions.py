"""`spectrain jobs` actions: what is done to one job or to several, each told on its own."""

from __future__ import annotations

from typing import Any, Final

import click

from deploy.cli.exit_codes import ExitCode
from deploy.cli.queue_options import PRIORITIES, order_options, placement_of, placement_options, placement_values
from deploy.cli.session import Session, client_command
from deploy.cli.submit import PRESETS, explained, parse_settings, told
from shared.placement import Placement

job_id_argument = click.argument("job_id", type=click.IntRange(min=1), metavar="JOB")
_job_ids = click.argument("job_ids", type=click.IntRange(min=1), metavar="JOB...", nargs=-1, required=True)


def _many(action: str, text: str) -> click.Command:
    """A command that does `action` to every job that it is given."""

    @click.command(action, help=text)
    @_job_ids
    @client_command
    def command(session: Session, job_ids: tuple[int, ...]) -> int:
        if len(job_ids) == 1:
            _act(session, job_ids[0], action)
            return ExitCode.DONE
        answer = session.client.bulk(action, job_ids)

        def render() -> None:
            for result in answer.results:
                session.say(f"Job {result.job}: {'done' if result.ok else result.error}")

        session.show(answer, render)
        return ExitCode.DONE if all(result.ok for result in answer.results) else ExitCode.CONFLICT

    return command


def _one(action: str, text: str) -> click.Command:
    """A command that does `action` to one job."""

    @click.command(action, help=text)
    @job_id_argument
    @client_command
    def command(session: Session, job_id: int) -> None:
        _act(session, job_id, action)

    return command


@click.command("next")
@job_id_argument
@client_command
def _next(session: Session, job_id: int) -> None:
    """Put a waiting job before all others, with the priority of the first; a held one is released."""
    _reorder(session, job_id, "next")


@click.command("move")
@job_id_argument
@click.option("--before", type=click.IntRange(min=1), metavar="JOB", help="The waiting job that it goes before.")
@click.option("--last", is_flag=True, help="To the end of the queue.")
@client_command
def _move(session: Session, job_id: int, before: int | None, *, last: bool) -> None:
    """Give a waiting job another place in the queue, and the priority that is usual there."""
    if (before is None) is not last:
        raise click.UsageError("Say where: --before JOB or --last.")
    _reorder(session, job_id, "move", {"before": before})


@click.command("priority")
@job_id_argument
@click.argument("priority", type=click.Choice(PRIORITIES))
@client_command
def _priority(session: Session, job_id: int, priority: str) -> None:
    """Have a job start before all of lower priorities."""
    _act(session, job_id, "edit", {"priority": priority})


@click.command("duplicate")
@job_id_argument
@click.option("--held/--released", default=None, help="Whether the new job waits for you. Default: as the first one.")
@client_command
def _duplicate(session: Session, job_id: int, *, held: bool | None) -> None:
    """Submit the same again, with every field as it is."""
    _act(session, job_id, "duplicate", {} if held is None else {"held": held})


@click.command("edit")
@job_id_argument
@click.option("--name", help="What the job is called; empty for a name made of what it is about.")
@click.option("--device", help="auto, cpu, mps, cuda, cuda:0 …")
@order_options
@click.option("--no-after", is_flag=True, help="Wait for no other job.")
@placement_options
@click.option("--anywhere", is_flag=True, help="Forget what --label to --min-memory asked for before.")
@click.option("--preset", type=click.Choice(PRESETS), help="Before a training has begun only.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value that differs from the preset, beside those that do already; before a training has begun only.",
)
@client_command
def _edit(session: Session, job_id: int, *, settings: tuple[str, ...], **values: Any) -> None:
    """Change a job that has not ended; what is not named stays.

    A job at work that may no longer run where it is saves, and goes on where it may.
    """
    anywhere, no_after = values.pop("anywhere"), values.pop("no_after")
    placed = placement_values(values)
    body = {name: value for name, value in values.items() if value not in (None, ())}
    if no_after:
        body["after"] = []
    if placed or anywhere:
        before = Placement() if anywhere else session.client.job(job_id).placement
        body["placement"] = placement_of(placed, before).model_dump(mode="json")
    if settings:
        request = session.client.job(job_id).request
        body["changes"] = parse_settings(settings, dict(getattr(request, "changes", {})))
    if not body:
        raise click.UsageError("Say what is to be changed; --help lists it.")
    _act(session, job_id, "edit", body)


def _reorder(session: Session, job_id: int, action: str, body: dict[str, Any] | None = None) -> None:
    """Give a job another place, and say where that came with another priority."""
    before = session.client.job(job_id).priority
    job = explained(session, session.client.act(job_id, action, body))
    news = "" if job.priority == before else f" Its priority is now {job.priority}."
    session.show(job, lambda: session.say(f"{told(job)}{news}"))


def _act(session: Session, job_id: int, action: str, body: dict[str, Any] | None = None) -> None:
    job = explained(session, session.client.act(job_id, action, body))
    session.show(job, lambda: session.say(told(job)))


ACTIONS: Final = (
    _many("cancel", "Save and stop jobs; those that wait never start. They can be resumed."),
    _many("pause", "Save jobs and free their devices until they are resumed."),
    _many("retry", "Queue failed, cancelled or paused jobs again: they go on from their newest checkpoint."),
    _many("hold", "Keep queued jobs from starting until they are released."),
    _many("release", "Let held jobs start when their turn comes."),
    _next,
    _move,
    _priority,
    _edit,
    _duplicate,
    _one("save", "Save a checkpoint at the next step."),
    _one("preview", "Make a preview of the model as it is now."),
)
"""Commands of `spectrain jobs`."""
