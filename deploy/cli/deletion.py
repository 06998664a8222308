"""`spectrain jobs delete` and `spectrain dataset delete`: what goes is told before it goes."""

from __future__ import annotations

import click

from api.keeping.views import DeletedView, DeletionView
from deploy.cli.job_actions import job_id_argument
from deploy.cli.session import Session, client_command
from deploy.cli.text import count, size
from shared.errors import InUseError

_dry_run = click.option("--dry-run", is_flag=True, help="Tell what would go, and leave it.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command("delete")
@job_id_argument
@_dry_run
@_yes
@client_command
def delete_job(session: Session, job_id: int, *, dry_run: bool, yes: bool) -> None:
    """Delete a job that has ended, with its checkpoints, previews and history."""
    plan = session.client.deletion(job_id)
    pinned = f" ({plan.pinned} of them pinned)" if plan.pinned else ""
    goes = (
        f"Job {job_id} ({plan.name}) with {count(plan.checkpoints, 'checkpoint')}{pinned},"
        f" {count(plan.previews, 'preview')} and {count(plan.events, 'event')}: {size(plan.size_bytes)}."
    )
    if _may_go(session, plan, goes, dry_run=dry_run, yes=yes):
        _told(session, session.client.delete_job(job_id), f"Job {job_id}")


@click.command("delete")
@click.argument("name")
@_dry_run
@_yes
@client_command
def delete_dataset(session: Session, name: str, *, dry_run: bool, yes: bool) -> None:
    """Delete a dataset, by its name or id, that no job uses, with the clips that no other one has."""
    plan = session.client.dataset_deletion(name)
    shared = f" ({plan.shared_clips} of them stay with other datasets)" if plan.shared_clips else ""
    goes = f"Dataset {plan.name} with {count(plan.clips, 'clip')}{shared}: {size(plan.size_bytes)}."
    if _may_go(session, plan, goes, dry_run=dry_run, yes=yes):
        _told(session, session.client.delete_dataset(name), f"Dataset {plan.name}")


def _may_go(session: Session, plan: DeletionView, goes: str, *, dry_run: bool, yes: bool) -> bool:
    """Tell what `goes` and ask; False where that was all. Raises InUseError where it has to stay."""
    if dry_run:
        session.show(plan, lambda: session.say(plan.reason or goes))
        return False
    if not plan.possible:
        raise InUseError(plan.reason)
    if not yes:
        session.say(goes)
        click.confirm("Delete it for good?", abort=True, err=True)
    return True


def _told(session: Session, answer: DeletedView, what: str) -> None:
    left = ""
    if answer.left_bytes:
        left = f"; {size(answer.left_bytes)} could not be removed: spectrain gc finds them within a day"
    session.show(answer, lambda: session.say(f"{what} is deleted, {size(answer.freed_bytes)} freed{left}."))
