"""`spectrain jobs`: list, show, watch, resume; `job_actions` has what else is done to jobs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from api.views import JobDetailView, JobView, ResumeSummaryView
from deploy.cli.checkpoints import COMMANDS
from deploy.cli.deletion import delete_job
from deploy.cli.exit_codes import ExitCode
from deploy.cli.job_actions import ACTIONS, job_id_argument
from deploy.cli.session import Session, client_command
from deploy.cli.submit import explained, told
from deploy.cli.text import count, duration, moment, number, placement, progress, started_from
from deploy.cli.watch import status_line, watch_job
from shared.config import MOST_REFINE_STEPS
from shared.errors import TransitionError
from shared.jobs import RESUMABLE, JobState, ResumeRequest

_STATES = tuple(state.value for state in JobState)


@click.group("jobs")
def jobs_command() -> None:
    """List, watch, order, change, cancel, resume and delete jobs. JOB is a job's number, as `jobs ls` shows it."""


for action in (*ACTIONS, *COMMANDS, delete_job):
    jobs_command.add_command(action)


@jobs_command.command("ls")
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES), help="Only these; repeatable.")
@click.option("--dataset", default="", help="Only those on this dataset.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@client_command
def ls(session: Session, states: tuple[str, ...], dataset: str, limit: int) -> None:
    """List jobs: those at work, then the queue in its order, then ended ones, newest first."""
    query: dict[str, str | int] = {"limit": limit}
    if states:
        query["state"] = ",".join(states)
    if dataset:
        query["dataset"] = dataset
    answer = session.client.jobs(query)

    def render() -> None:
        if not answer.jobs:
            session.say("There are no such jobs: spectrain train DATASET makes one.")
            return
        job_table(session, answer.jobs)

    session.show(answer, render)


@jobs_command.command("show")
@job_id_argument
@client_command
def show(session: Session, job_id: int) -> None:
    """Show a job with its configuration."""
    job = session.client.job(job_id)
    session.show(job, lambda: _render_job(session, job))


@jobs_command.command("watch")
@job_id_argument
@client_command
def watch(session: Session, job_id: int) -> int:
    """Follow a job until it ends or pauses. With --json: one event a line, and the job as the last line."""
    job = session.client.job(job_id)
    # What happened before is in `show` and on the page; from here on nothing is left out.
    return watch_job(session, job, after=job.last_event)


@jobs_command.command("resume")
@job_id_argument
@click.option("--epochs", type=click.IntRange(min=1), help="New total of epochs; more than before extends the run.")
@click.option("--preview-every", type=click.IntRange(min=0), help="Epochs between two previews from now on.")
@click.option(
    "--refine-steps",
    type=click.IntRange(0, MOST_REFINE_STEPS),
    help="Steps in which previews improve on the encoder's guess from now on; 0 lets the guess be heard.",
)
@click.option("--checkpoint", help="Checkpoint to go on from; the newest valid one where none is named.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--watch", "watching", is_flag=True, help="Follow the job until it ends.")
@client_command
def resume(
    session: Session,
    job_id: int,
    *,
    epochs: int | None,
    preview_every: int | None,
    refine_steps: int | None,
    checkpoint: str | None,
    yes: bool,
    watching: bool,
) -> int:
    """Go on with a job that was paused, cancelled or failed, or extend a completed one with more --epochs.

    Shows where it goes on from and asks first; with --json it does not ask.
    """
    request = ResumeRequest(
        epochs=epochs, preview_every=preview_every, refine_steps=refine_steps, checkpoint=checkpoint
    )
    summary = session.client.resume_summary(job_id, request)
    if not summary.possible:
        raise TransitionError(summary.reason or f"Job {job_id} cannot be resumed.")
    if not session.as_json:
        _render_summary(session, summary)
        if not yes:
            click.confirm("Continue training?", default=True, abort=True)
    after = session.client.job(job_id).last_event
    job = session.client.resume(job_id, request)
    if watching:
        return watch_job(session, job, after=after)
    job = explained(session, job)
    session.show(job, lambda: session.say(told(job)))
    return ExitCode.DONE


def job_table(session: Session, jobs: Sequence[JobView]) -> None:
    """Jobs, one a line."""
    rows = [
        (
            str(job.id),
            job.state.value,
            job.name,
            job.dataset.name,
            job.representation,
            progress(job),
            number(job.loss),
            duration(job.eta_s),
            job.worker or job.device,
            "" if job.priority == "normal" else job.priority,
            placement(job.placement),
            str(job.batch or ""),
            ", ".join(str(each) for each in job.after),
            job.reason,
        )
        for job in jobs
    ]
    columns = [">id", "state", "name", "dataset", "sees", "progress", ">loss", ">to go", "worker"]
    session.table([*columns, "priority", "where and when", ">batch", "after", "reason"], rows)


def _render_job(session: Session, job: JobDetailView) -> None:
    checkpoint = f"{job.last_checkpoint} (step {job.last_checkpoint_step or 0:,})" if job.last_checkpoint else ""
    session.pairs(
        [
            ("Job", f"{job.id}: {job.name} ({job.kind})"),
            ("State", status_line(job, why=False)),
            ("Reason", job.reason),
            ("Dataset", f"{job.dataset.name}, version {job.dataset.version}, {count(job.dataset.clips, 'clip')}"),
            ("Representation", job.representation),
            ("Preset", job.preset or ""),
            ("Started from", "" if job.start is None else started_from(job.start)),
            ("Device", f"{job.device}{' of ' if job.worker else ''}{job.worker}"),
            ("Priority", job.priority),
            ("Where and when", placement(job.placement)),
            ("Batch", str(job.batch or "")),
            ("After", ", ".join(str(each) for each in job.after)),
            ("Begun", count(job.attempt, "time") if job.attempt > 1 else ""),
            ("Validation error", "" if job.val_reconstruction is None else number(job.val_reconstruction)),
            ("Overfitting gap", "" if job.overfitting_gap is None else f"{job.overfitting_gap:+.0%}"),
            ("Active units", "" if job.active_units is None else f"{job.active_units} of {job.latent_dim}"),
            ("Checkpoint", checkpoint),
            ("Submitted by", job.submitted_by),
            ("Queued", moment(job.queued_at)),
            ("Started", moment(job.started_at)),
            ("Ended", moment(job.ended_at)),
            ("Took", duration(job.elapsed_s) if job.elapsed_s else ""),
            *((name, str(value)) for name, value in (job.train or job.features or ())),
            *((f"Warning ({warning.code})", f"{warning.message} {warning.advice}") for warning in job.warnings),
        ]
    )
    if job.preset_differences:
        changed = ", ".join(f"{name}={value}" for name, value in job.preset_differences.items())
        session.say(f"Differs from the preset: {changed}")
    if job.detail:
        session.say(f"\n{job.detail.rstrip()}")
    if job.state is JobState.COMPLETED and job.train:
        session.say(f"\nspectrain jobs resume {job.id} --epochs {job.train.epochs * 3 // 2 + 1} extends it.")
    elif job.state in RESUMABLE and job.state is not JobState.COMPLETED:
        session.say(f"\nspectrain jobs resume {job.id} goes on with it.")


def _render_summary(session: Session, summary: ResumeSummaryView) -> None:
    session.pairs(
        [
            ("Job", str(summary.job)),
            ("Checkpoint", f"{summary.checkpoint}, saved {moment(summary.saved_at)}" if summary.checkpoint else "none"),
            ("Epoch", f"{summary.epoch} of {summary.epochs}"),
            ("Step", f"{summary.step:,} of {summary.total_steps:,}"),
            ("Loss", number(summary.loss)),
            ("Validation error", number(summary.val_reconstruction)),
            ("Trained for", duration(summary.elapsed_s)),
            *((f"Changes {change.field}", f"{change.before} -> {change.after}") for change in summary.changes),
        ]
    )
