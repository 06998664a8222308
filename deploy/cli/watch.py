"""Following a job until it ends, by asking the server twice a second; a server that restarts is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from rich.progress import BarColumn, Progress, TextColumn

from api.views import JobDetailView
from deploy.cli.api_client import ApiClient, ApiError, UnreachableError
from deploy.cli.exit_codes import ExitCode
from deploy.cli.session import Session
from deploy.cli.text import duration, event_lines, number, progress
from shared.events import Event
from shared.jobs import ENDED, JobState

_LOOK_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 600.0
"""How long a server that went away is waited for."""
_LINE_EVERY_S: Final = 10.0
"""Where there is no terminal: how often the progress within an epoch gets a line."""
_EVENT_TYPES: Final = ("state", "attempt_started", "epoch", "preview", "checkpoint", "warning", "log")
_PAGE: Final = 1000
_FINAL: Final = ENDED | {JobState.PAUSED}

EXIT_CODES: Final = {
    JobState.COMPLETED: ExitCode.DONE,
    JobState.FAILED: ExitCode.FAILED,
    JobState.CANCELLED: ExitCode.STOPPED,
    JobState.PAUSED: ExitCode.STOPPED,
}


class Display(Protocol):
    """Where what happens is shown."""

    def event(self, event: Event) -> None:
        """An event that was not shown before."""
        ...

    def job(self, job: JobDetailView) -> None:
        """The job as it is now."""
        ...

    def note(self, text: str) -> None:
        """Something about the watching itself."""
        ...


def watch_job(session: Session, job: JobDetailView, *, after: int) -> int:
    """Show the events of `job` with numbers above `after` until it ends or pauses; returns the exit code.

    Ctrl-C ends the watching, not the job.
    """
    try:
        if session.as_json:
            job = follow(session.client, job, JsonDisplay(session), after=after)
            session.write_json(job)
        elif session.console.is_terminal:
            with TerminalDisplay(session) as display:
                job = follow(session.client, job, display, after=after)
        else:
            job = follow(session.client, job, PlainDisplay(session), after=after)
    except KeyboardInterrupt:
        session.say(f"Job {job.id} goes on; `spectrain jobs watch {job.id}` shows it again.")
        return ExitCode.INTERRUPTED
    return EXIT_CODES[job.state]


def follow(
    client: ApiClient,
    job: JobDetailView,
    display: Display,
    *,
    after: int,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> JobDetailView:
    """Ask until `job` has ended or paused and its events are shown; returns it as it is then.

    Raises UnreachableError when the server stays away for ten minutes, ApiError when the job is gone.
    """
    job_id = job.id
    away_since: float | None = None
    while True:
        try:
            job = client.job(job_id)  # before its events, so that those of its end are among them
            while events := client.events(job_id, after=after, types=_EVENT_TYPES, limit=_PAGE).events:
                for event in events:
                    display.event(event)
                after = events[-1].number
        except (UnreachableError, ApiError) as error:
            if isinstance(error, ApiError) and error.status < 500:
                raise
            if away_since is None:
                away_since = clock()
                display.note("The server does not answer; waiting for it. A training goes on while its worker runs.")
            elif clock() - away_since > _PATIENCE_S:
                raise
        else:
            if away_since is not None:
                away_since = None
                display.note("The server is back.")
            display.job(job)
            if job.state in _FINAL:
                return job
        sleep(_LOOK_EVERY_S)


class JsonDisplay:
    """One JSON object a line: the events; the caller adds the job at the end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def event(self, event: Event) -> None:
        """Write the event."""
        self._session.write_json(event)

    def job(self, job: JobDetailView) -> None:
        """Nothing: the events say it."""

    def note(self, text: str) -> None:
        """A sentence beside the JSON."""
        self._session.say(text)


class PlainDisplay:
    """Lines, for files and pipes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last = ""
        self._next_at = 0.0

    def event(self, event: Event) -> None:
        """A line for each thing that a person wants to know."""
        for line in event_lines(event):
            self.note(line)

    def job(self, job: JobDetailView) -> None:
        """Its progress, when it changed, every ten seconds."""
        line = status_line(job)
        if line != self._last and time.monotonic() >= self._next_at:
            self._last = line
            self._next_at = time.monotonic() + _LINE_EVERY_S
            self.note(line)

    def note(self, text: str) -> None:
        """One line."""
        self._session.say(text)


class TerminalDisplay:
    """Lines above, a bar with epoch, step, loss and time to go below."""

    def __init__(self, session: Session) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
        self._progress = Progress(*columns, console=session.console)
        self._task = self._progress.add_task("", total=None, status="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def event(self, event: Event) -> None:
        """Lines above the bar."""
        for line in event_lines(event):
            self.note(line)

    def job(self, job: JobDetailView) -> None:
        """The bar."""
        state = job.progress
        done, total = (state.step, state.total_steps) if state.epochs else (state.done, state.total)
        self._progress.update(
            self._task,
            description=f"job {job.id}",
            total=total or None,
            completed=done,
            status=status_line(job),
        )

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text)


def status_line(job: JobDetailView, *, why: bool = True) -> str:
    """State, progress, loss and time to go: "running, epoch 3/100, step 1,200/40,000, loss 0.42, 12 min to go".

    Of a job that waits it tells `why`.
    """
    parts = [job.state.value]
    if why and job.state is JobState.QUEUED and job.reason:
        parts.append(job.reason)
    if how_far := progress(job):
        parts.append(how_far)
    if job.loss is not None:
        parts.append(f"loss {number(job.loss)}")
    if job.eta_s is not None and job.state is JobState.RUNNING:
        parts.append(f"{duration(job.eta_s)} to go")
    return ", ".join(parts)
