"""Following a job: what is shown, when it ends, with which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from api.views import EventListView, JobDetailView
from deploy.cli import session, watch
from deploy.cli.api_client import ApiClient, ApiError, UnreachableError
from deploy.cli.exit_codes import ExitCode
from deploy.cli.text import count, duration, number, size
from deploy.cli.watch import follow
from shared.events import CheckpointSaved, Event, EventBody, LogLine, StateChanged
from shared.jobs import JobState
from tests.unit.deploy.conftest import Answer, CommandLine, FakeServer, make_job


def event(at: int, body: EventBody) -> Event:
    return Event(job_id=5, number=at, attempt=1, at=0.0, body=body)


class Shown:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.states: list[JobState] = []
        self.notes: list[str] = []

    def event(self, event: Event) -> None:
        self.numbers.append(event.number)

    def job(self, job: JobDetailView) -> None:
        self.states.append(job.state)

    def note(self, text: str) -> None:
        self.notes.append(text)


def serve_events(server: FakeServer, events: list[Event]) -> None:
    """Answer with those of `events` that are asked for, two at a time."""

    def answer(request: httpx.Request) -> Answer:
        after = int(request.url.params["after"])
        later = [event for event in events if event.number > after]
        return EventListView(events=later[:2], last=events[-1].number)

    server.answers["GET jobs/5/events"] = answer


@pytest.fixture
def client(server: FakeServer) -> Iterator[ApiClient]:
    with session.ApiClient("http://127.0.0.1:1") as client:
        yield client
    assert server.requests


def test_events_are_shown_once_each_until_the_job_ends(server: FakeServer, client: ApiClient) -> None:
    server.answers["GET jobs/5"] = [make_job(JobState.RUNNING), make_job(JobState.RUNNING), make_job(JobState.FAILED)]
    serve_events(server, [event(number, LogLine(message="x")) for number in range(1, 6)])
    shown = Shown()

    job = follow(client, make_job(), shown, after=1, sleep=lambda _: None)

    assert job.state is JobState.FAILED
    assert shown.numbers == [2, 3, 4, 5]
    assert shown.states == [JobState.RUNNING, JobState.RUNNING, JobState.FAILED]


def test_a_server_that_restarts_is_waited_for_and_nothing_is_missed(server: FakeServer, client: ApiClient) -> None:
    server.answers["GET jobs/5"] = [
        make_job(JobState.RUNNING),
        httpx.ConnectError("refused"),
        (503, {"error": "Redis is away.", "field": ""}),
        make_job(JobState.COMPLETED),
    ]
    serve_events(server, [event(1, LogLine(message="x"))])
    shown = Shown()

    follow(client, make_job(), shown, after=0, sleep=lambda _: None)

    assert shown.numbers == [1]
    assert [note.split()[2] for note in shown.notes] == ["does", "is"]


def test_a_server_that_stays_away_is_given_up(server: FakeServer, client: ApiClient) -> None:
    server.answers["GET jobs/5"] = httpx.ConnectError("refused")
    times = iter(range(0, 10_000, 100))

    with pytest.raises(UnreachableError):
        follow(client, make_job(), Shown(), after=0, sleep=lambda _: None, clock=lambda: float(next(times)))


def test_a_job_that_is_gone_ends_the_watching(server: FakeServer, client: ApiClient) -> None:
    server.answers["GET jobs/5"] = (404, {"error": "There is no job 5.", "field": ""})

    with pytest.raises(ApiError):
        follow(client, make_job(), Shown(), after=0, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (JobState.COMPLETED, ExitCode.DONE),
        (JobState.FAILED, ExitCode.FAILED),
        (JobState.CANCELLED, ExitCode.STOPPED),
        (JobState.PAUSED, ExitCode.STOPPED),
    ],
)
def test_the_end_of_the_job_is_the_exit_code(
    server: FakeServer, spectrain: CommandLine, state: JobState, code: ExitCode
) -> None:
    server.answers["POST jobs"] = make_job()
    server.answers["GET jobs/5"] = make_job(state, reason="A reason.")
    saved = CheckpointSaved(name="1-9", epoch=1, step=9, reason="final", best=True, size_bytes=1000, seconds=0.5)
    serve_events(server, [event(1, saved), event(2, StateChanged(state=state, reason="A reason."))])

    assert spectrain("train", "kit", "--watch") == code
    assert "saved step 9, 0.5 s (final, best so far, 1.0 kB)" in spectrain.out
    assert f"{state.value}: A reason." in spectrain.out


def test_programs_get_a_line_of_json_for_each_event_and_the_job(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs/5"] = make_job(JobState.COMPLETED)
    serve_events(server, [event(1, LogLine(message="one")), event(2, LogLine(message="two"))])

    assert spectrain("jobs", "watch", "5", "--json") == ExitCode.DONE

    first, second, last = (json.loads(line) for line in spectrain.out.splitlines())
    assert (first["number"], second["body"]["message"]) == (1, "two")
    assert last["state"] == "completed"


def test_interrupting_ends_the_watching_and_says_that_the_job_goes_on(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    server.answers["GET jobs/5"] = make_job(JobState.RUNNING)
    monkeypatch.setattr(watch, "follow", interrupt)

    assert spectrain("jobs", "watch", "5") == ExitCode.INTERRUPTED
    assert "Job 5 goes on" in spectrain.out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0 s"), (59.6, "1 min 00 s"), (725, "12 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_as_people_read_them() -> None:
    assert [size(999), size(1_500_000), size(None)] == ["999 B", "1.5 MB", ""]
    assert [number(0.123456), number(None)] == ["0.1235", "–"]
    assert [count(1, "file"), count(1200, "file")] == ["1 file", "1,200 files"]
