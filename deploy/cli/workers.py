"""`spectrain workers`: list them; drain, resume, label and remove one."""

from __future__ import annotations

import click

from api.views import WorkerView
from deploy.cli.session import Session, client_command
from deploy.cli.text import duration, size

_worker = click.argument("worker", metavar="WORKER")


@click.group("workers")
def workers_command() -> None:
    """List workers; drain, resume, label and remove one. WORKER is its name, such as studio/cuda:0."""


@workers_command.command("ls")
@client_command
def list_command(session: Session) -> None:
    """List workers by name, with what each does."""
    listed = session.client.workers()

    def render() -> None:
        if not listed.workers:
            session.say(
                "No worker is known: `spectrain up` starts one, `spectrain token create --role worker` invites others."
            )
            return
        columns = ("name", "state", ">job", "device", ">memory", "labels", ">heard of", "version", "note")
        session.table(columns, [_row(worker) for worker in listed.workers])

    session.show(listed, render)


@workers_command.command("drain")
@_worker
@client_command
def drain_command(session: Session, worker: str) -> None:
    """Let a worker finish what it does and get no more."""
    _tell(session, session.client.change_worker("drain", worker), "finishes what it does and gets no more")


@workers_command.command("resume")
@_worker
@client_command
def resume_command(session: Session, worker: str) -> None:
    """Let a drained worker get jobs again."""
    _tell(session, session.client.change_worker("resume", worker), "gets jobs again")


@workers_command.command("label")
@_worker
@click.argument("labels", nargs=-1, metavar="[LABEL]...")
@client_command
def label_command(session: Session, worker: str, labels: tuple[str, ...]) -> None:
    """Give a worker these labels in place of those that it was given before; without any, it has none.

    Those that it was started with (--label, SPECTRAIN_LABELS) stay.
    """
    changed = session.client.change_worker("labels", worker, labels=list(labels))
    words = f"has the labels {', '.join(changed.labels)}" if changed.labels else "has no labels"
    if kept := [label for label in changed.own_labels if label not in labels]:
        words += f"; {', '.join(kept)} {'is' if len(kept) == 1 else 'are'} of its start (--label, SPECTRAIN_LABELS)"
    _tell(session, changed, words)


@workers_command.command("remove")
@_worker
@client_command
def remove_command(session: Session, worker: str) -> None:
    """Forget a worker that is offline, or drained and idle."""
    left = session.client.remove_worker(worker)
    session.show(left, lambda: session.say(f"{worker} is forgotten."))


def _tell(session: Session, worker: WorkerView, what: str) -> None:
    session.show(worker, lambda: session.say(f"{worker.name} {what}."))


def _row(worker: WorkerView) -> tuple[str, ...]:
    state = f"{worker.state}, drained" if worker.drained else worker.state
    return (
        worker.name,
        state,
        "" if worker.job_id is None else str(worker.job_id),
        " ".join(part for part in (worker.device.name, worker.device.model) if part),
        size(worker.device.memory_total_bytes),
        ", ".join(worker.labels),
        f"{duration(worker.heartbeat_age_s)} ago",
        worker.versions.get("spectrain", ""),
        worker.warning or ("joined" if worker.joined else ""),
    )
