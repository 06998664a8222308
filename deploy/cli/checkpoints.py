"""`spectrain jobs` and checkpoints: which ones a job has, and which of them a person wants to keep."""

from __future__ import annotations

from typing import Final

import click

from api.views import CheckpointListView
from deploy.cli.job_actions import job_id_argument
from deploy.cli.session import Session, client_command
from deploy.cli.text import moment, number, size

_name = click.argument("checkpoint", metavar="CHECKPOINT")


@click.command("checkpoints")
@job_id_argument
@client_command
def _checkpoints(session: Session, job_id: int) -> None:
    """List the checkpoints that a job has, newest first."""
    _show(session, job_id, session.client.checkpoints(job_id))


@click.command("pin")
@job_id_argument
@_name
@client_command
def _pin(session: Session, job_id: int, checkpoint: str) -> None:
    """Keep a checkpoint until it is unpinned; `spectrain jobs checkpoints JOB` lists them."""
    answer = session.client.set_pin(job_id, checkpoint, pinned=True)
    session.show(answer, lambda: session.say(f"Checkpoint {checkpoint} of job {job_id} is kept until it is unpinned."))


@click.command("unpin")
@job_id_argument
@_name
@click.option("--yes", is_flag=True, help="Do not ask before something is lost.")
@client_command
def _unpin(session: Session, job_id: int, checkpoint: str, *, yes: bool) -> None:
    """Keep a checkpoint no longer than its training does."""
    listed = session.client.checkpoints(job_id).checkpoints
    goes = any(one.name == checkpoint and one.only_pinned for one in listed)
    if goes and not yes:
        click.confirm(
            f"Nothing but its pin keeps checkpoint {checkpoint}, so it is deleted. Go on?", abort=True, err=True
        )
    answer = session.client.set_pin(job_id, checkpoint, pinned=False)
    told = "is deleted" if goes else "stays only as long as its training keeps it"
    session.show(answer, lambda: session.say(f"Checkpoint {checkpoint} of job {job_id} {told}."))


def _show(session: Session, job_id: int, answer: CheckpointListView) -> None:
    def render() -> None:
        if not answer.checkpoints:
            session.say(f"Job {job_id} has saved nothing yet.")
            return
        rows = [
            (
                one.name,
                str(one.epoch),
                f"{one.step:,}",
                number(one.val_reconstruction),
                size(one.size_bytes),
                moment(one.at),
                ", ".join(name for name in ("best", "newest", "pinned") if getattr(one, name)),
            )
            for one in answer.checkpoints
        ]
        session.table(["checkpoint", ">epoch", ">step", ">held-out error", ">size", "saved", ""], rows)

    session.show(answer, render)


COMMANDS: Final = (_checkpoints, _pin, _unpin)
"""Commands of `spectrain jobs`."""
