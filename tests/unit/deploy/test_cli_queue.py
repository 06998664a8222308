"""The command line and the queue: order, placement, batches, sweeps, actions on one job and on many."""

from __future__ import annotations

from typing import Any

import click
import httpx
import pytest

from api.views import BatchView, BulkResultView, BulkView, CheckView, JobListView, QueueView
from deploy.cli.exit_codes import ExitCode
from deploy.cli.queue_options import parse_duration, parse_hours, parse_size
from deploy.cli.submit import parse_varied
from deploy.cli.text import numbers
from shared.config import FeatureConfig
from shared.jobs import JobState, TrainRequest
from shared.placement import DailyHours, Placement
from tests.unit.deploy.conftest import CommandLine, FakeServer, make_job

BATCH = BatchView(batch=5, jobs=[5, 6, 7, 9])
PLACED = [
    *("--label", "studio", "--label", "big", "--worker", "here/cpu", "--hours", "23:00-07:00"),
    *("--only-when-idle", "--time-limit", "2h", "--min-memory", "6G"),
]
PLACEMENT = {
    "labels": ["studio", "big"],
    "worker": "here/cpu",
    "hours": {"start": "23:00", "end": "07:00"},
    "only_when_idle": True,
    "time_limit_s": 7200.0,
    "min_free_memory_bytes": 6 << 30,
}


def test_what_is_asked_of_the_queue_is_sent(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["POST jobs"] = make_job(JobState.HELD, priority="high")
    said = ["--priority", "high", "--held", "--after", "3", "--after", "4", *PLACED]
    assert spectrain("train", "kit", *said) == ExitCode.DONE
    (body,) = server.bodies("POST", "jobs")
    assert (body["priority"], body["held"], body["after"], body["placement"]) == ("high", True, [3, 4], PLACEMENT)
    spectrain("train", "kit")
    assert server.bodies("POST", "jobs")[1].keys().isdisjoint({"priority", "held", "after", "placement"})


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (["--time-limit", "soon"], "2h"),
        (["--min-memory", "much"], "6G"),
        (["--hours", "night"], "23:00-07:00"),
        (["--priority", "urgent"], "normal"),
        (["--after", "0"], "--after"),
        (["--vary", "latent_dim"], "NAME=VALUE"),
        (["--label", "No Label"], "labels"),
    ],
)
def test_what_cannot_be_asked_of_the_queue_is_wrong_input(
    server: FakeServer, spectrain: CommandLine, said: list[str], hint: str
) -> None:
    assert spectrain("train", "kit", *said) == ExitCode.WRONG_INPUT
    assert hint in spectrain.err
    assert server.requests == []


def test_several_datasets_and_values_are_a_sweep(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["POST jobs/sweep"] = BATCH
    said = ("--vary", "latent_dim=32,64", "--vary", "objective=sigma,beta", "--epochs", "3", "--priority", "low")
    assert spectrain("train", "kit", "voices", *said) == ExitCode.DONE
    assert "4 jobs in batch 5: 5-7, 9." in spectrain.out
    (body,) = server.bodies("POST", "jobs/sweep")
    assert body["datasets"] == ["kit", "voices"]
    assert body["vary"] == {"latent_dim": [32, 64], "objective": ["sigma", "beta"]}
    assert (body["job"]["changes"], body["job"]["priority"], body["job"]["kind"]) == ({"epochs": 3}, "low", "train")
    assert spectrain("train", "kit", "--vary", "seed=1,2", "--json") == ExitCode.DONE
    assert spectrain.json() == {"batch": 5, "jobs": [5, 6, 7, 9]}
    assert spectrain("train", "kit", "voices", "--watch") == ExitCode.WRONG_INPUT


def test_a_sweep_that_cannot_work_names_its_field(server: FakeServer, spectrain: CommandLine) -> None:
    refusal = "job.changes.epochs: Input should be greater than or equal to 1"
    server.answers["POST jobs/sweep"] = (422, {"error": refusal, "field": "job.changes.epochs"})
    assert spectrain("train", "kit", "voices", "--set", "epochs=0") == ExitCode.WRONG_INPUT
    assert spectrain.err == "Error: epochs: Input should be greater than or equal to 1\n"


def test_several_datasets_are_preprocessed_as_a_batch(server: FakeServer, spectrain: CommandLine) -> None:
    check = CheckView(features=FeatureConfig(), file_count=1, chunks=1, steps_per_epoch=1, total_steps=1, warnings=[])
    server.answers["POST jobs/check"] = check
    server.answers["POST jobs/batch"] = BATCH
    assert spectrain("preprocess", "kit", "voices", "--label", "studio") == ExitCode.DONE
    (body,) = server.bodies("POST", "jobs/batch")
    told = [(job["kind"], job["dataset"], job["placement"]) for job in body["jobs"]]
    assert told == [("preprocess", name, {"labels": ["studio"]}) for name in ("kit", "voices")]


def test_a_new_job_says_why_it_waits(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["POST jobs"] = make_job()
    waits = make_job(reason="Waits for a worker: none is online.")
    server.answers["GET jobs/5"] = [make_job(), waits]
    assert spectrain("train", "kit") == ExitCode.DONE
    assert spectrain.out == "Job 5 (kit mel, 12 clips): queued. Waits for a worker: none is online.\n"
    server.answers["GET jobs/5"] = [make_job(), make_job(JobState.STARTING)]
    assert spectrain("train", "kit") == ExitCode.DONE
    assert "starting." in spectrain.out
    server.answers["GET jobs/5"] = httpx.ConnectError("gone")
    assert spectrain("train", "kit") == ExitCode.DONE, "it was submitted"
    assert "queued." in spectrain.out


@pytest.mark.parametrize(
    ("command", "route"), [("next 5", "next"), ("move 5 --before 3", "move"), ("move 5 --last", "move")]
)
def test_a_new_place_that_comes_with_another_priority_says_so(
    server: FakeServer, spectrain: CommandLine, command: str, route: str
) -> None:
    server.answers["GET jobs/5"] = [make_job(), make_job(priority="high", reason="It starts next.")]
    server.answers[f"POST jobs/5/{route}"] = make_job(priority="high")
    assert spectrain("jobs", *command.split()) == ExitCode.DONE
    assert spectrain.out.endswith("queued. It starts next. Its priority is now high.\n")
    server.answers["GET jobs/5"] = make_job(priority="high", reason="It starts next.")
    assert spectrain("jobs", *command.split()) == ExitCode.DONE
    assert "priority" not in spectrain.out


def test_a_reason_is_told_once(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs/5"] = make_job(reason="Waits for the cows.", submitted_by="ann")
    assert spectrain("jobs", "show", "5") == ExitCode.DONE
    assert spectrain.out.count("the cows") == 1
    assert "Submitted by" in spectrain.out
    assert "ann" in spectrain.out


@pytest.mark.parametrize("action", ["cancel", "pause", "hold", "release", "retry"])
def test_an_action_is_done_to_one_job_or_to_many(server: FakeServer, spectrain: CommandLine, action: str) -> None:
    server.answers[f"POST jobs/5/{action}"] = make_job()
    server.answers["POST jobs/bulk"] = BulkView(
        results=[BulkResultView(job=5, ok=True), BulkResultView(job=6, ok=False, error="Job 6 has ended.")]
    )
    assert spectrain("jobs", action, "5") == ExitCode.DONE
    assert spectrain("jobs", action, "5", "6") == ExitCode.CONFLICT
    assert server.bodies("POST", "jobs/bulk") == [{"action": action, "jobs": [5, 6]}]
    assert "Job 6: Job 6 has ended." in spectrain.out
    spectrain("jobs", action, "5", "6", "--json")
    assert [result["ok"] for result in spectrain.json()["results"]] == [True, False]


@pytest.mark.parametrize(
    ("command", "route", "body"),
    [
        ("next 5", "next", {}),
        ("move 5 --before 3", "move", {"before": 3}),
        ("move 5 --last", "move", {"before": None}),
        ("priority 5 high", "edit", {"priority": "high"}),
        ("duplicate 5", "duplicate", {}),
        ("duplicate 5 --held", "duplicate", {"held": True}),
        ("edit 5 --name other --device cuda --after 3", "edit", {"name": "other", "device": "cuda", "after": [3]}),
        ("edit 5 --no-after --preset balanced", "edit", {"after": [], "preset": "balanced"}),
    ],
)
def test_the_queue_is_put_in_order(
    server: FakeServer, spectrain: CommandLine, command: str, route: str, body: dict[str, Any]
) -> None:
    server.answers["GET jobs/5"] = make_job(reason="It starts next.")
    server.answers[f"POST jobs/5/{route}"] = make_job()
    assert spectrain("jobs", *command.split()) == ExitCode.DONE
    assert server.bodies("POST", f"jobs/5/{route}") == [body]
    assert "Job 5 (kit mel, 12 clips): queued." in spectrain.out


@pytest.mark.parametrize("command", ["move 5", "move 5 --before 3 --last", "edit 5", "cancel", "priority 5 urgent"])
def test_an_order_that_says_nothing_is_wrong_usage(server: FakeServer, spectrain: CommandLine, command: str) -> None:
    assert spectrain("jobs", *command.split()) == ExitCode.WRONG_INPUT
    assert server.requests == []


def test_an_edit_keeps_what_it_does_not_say(server: FakeServer, spectrain: CommandLine) -> None:
    request = TrainRequest(dataset="kit", changes={"epochs": 3, "spectrogram": {"n_mels": 64}})
    server.answers["GET jobs/5"] = make_job(placement=Placement(labels=("studio",)), request=request)
    server.answers["POST jobs/5/edit"] = make_job()
    assert spectrain("jobs", "edit", "5", "--min-memory", "1G", "--set", "spectrogram.n_fft=1024") == ExitCode.DONE
    assert spectrain("jobs", "edit", "5", "--anywhere", "--worker", "here/cpu") == ExitCode.DONE
    first, second = server.bodies("POST", "jobs/5/edit")
    assert (first["placement"]["labels"], first["placement"]["min_free_memory_bytes"]) == (["studio"], 1 << 30)
    assert first["changes"] == {"epochs": 3, "spectrogram": {"n_mels": 64, "n_fft": 1024}}
    assert (second["placement"]["labels"], second["placement"]["worker"]) == ([], "here/cpu")


def test_the_queue_is_shown_paused_and_let_go_on(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET queue"] = QueueView(paused=False)
    server.answers["GET jobs"] = JobListView(jobs=[make_job(priority="high", after=[3], batch=4)])
    server.answers["POST queue/pause"] = QueueView(paused=True, paused_at=1.0)
    server.answers["POST queue/resume"] = QueueView(paused=False)
    assert spectrain("queue", "show") == ExitCode.DONE
    assert "open" in spectrain.out
    assert "kit mel" in spectrain.out
    assert spectrain("queue", "pause", "--json") == ExitCode.DONE
    assert spectrain.json() == {"paused": True, "paused_at": 1.0}
    assert spectrain("queue", "pause") == ExitCode.DONE
    assert "spectrain queue resume" in spectrain.out
    assert spectrain("queue", "resume") == ExitCode.DONE


def test_lists_and_jobs_tell_order_place_and_time(server: FakeServer, spectrain: CommandLine) -> None:
    placed = Placement.model_validate(PLACEMENT)
    job = make_job(priority="high", placement=placed, batch=4, after=[2, 3])
    server.answers["GET jobs"] = JobListView(jobs=[job])
    server.answers["GET jobs/5"] = job
    for command in ("ls", "show"):
        spectrain("jobs", command, *(["5"] if command == "show" else []))
        for part in ("high", "2, 3", "studio, big, here/cpu, 23:00-07:00, only when idle", "at most 2 h 00 min"):
            assert part in spectrain.out, part


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200.0), ("90m", 5400.0), ("1h30m", 5400.0), ("45s", 45.0), ("1.5 d", 129_600.0)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "amount"), [("6G", 6 << 30), ("1.5g", 3 << 29), ("500 MiB", 500 << 20), ("7", 7)])
def test_sizes_are_read(text: str, amount: int) -> None:
    assert parse_size(text) == amount


def test_hours_are_read() -> None:
    assert parse_hours("23:00 - 7:00") == DailyHours(start="23:00", end="07:00")
    for text in ("", "23:00", "24:00-07:00", "a-b"):
        with pytest.raises(click.BadParameter):
            parse_hours(text)


def test_varied_values_are_json_or_text() -> None:
    told = parse_varied(("a=1,2.5,x", "b=[[1.0],[1.0,0.5]]", "a=true"))
    assert told == {"a": [1, 2.5, "x", True], "b": [[1.0], [1.0, 0.5]]}


def test_runs_of_numbers_are_short() -> None:
    assert numbers([5, 6, 7, 9, 11, 12]) == "5-7, 9, 11-12"
    assert numbers([3]) == "3"
