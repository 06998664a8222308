"""The command line: what it sends, what it prints, with which exit code it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from api.datasets.views import DatasetDetailView, DatasetListView, FileResultView, UploadView
from api.views import CheckView, JobListView, ResumeSummaryView
from deploy.cli.datasets import audio_files, batches
from deploy.cli.exit_codes import ExitCode
from deploy.cli.submit import parse_settings
from shared.config import FeatureConfig, TrainConfig
from shared.jobs import JobState, StartPoint
from tests.unit.deploy.conftest import CommandLine, FakeServer, make_dataset, make_job

REFUSED = httpx.ConnectError("refused")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with two sounds at different depths, and three files that are none."""
    folder = tmp_path / "drums"
    for name in ("kick.wav", "snares/tight.FLAC", "notes.txt", ".hidden.wav", ".cache/old.wav"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    return folder


def uploaded(*results: tuple[str, str, str]) -> UploadView:
    files = [FileResultView(name=name, result=result, reason=reason) for name, result, reason in results]
    return UploadView(dataset=make_dataset(), files=files)


def test_help_comes_without_the_libraries_of_the_client() -> None:
    script = (
        "import sys; from deploy.cli import run; code = run(['--help'])\n"
        "heavy = {'torch', 'httpx', 'pydantic', 'rich', 'redis'} & set(sys.modules)\n"
        "sys.exit(code or ' '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert all(code.meaning in done.stdout for code in ExitCode)


@pytest.mark.parametrize("module", ["serve", "datasets", "submit", "jobs", "models", "queue", "doctor", "watch"])
def test_no_command_loads_torch(module: str) -> None:
    script = f"import sys, deploy.cli.{module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("command", ["train", "jobs show x", "jobs nothing", "train kit --preset loud", "nothing"])
def test_wrong_usage_is_2(spectrain: CommandLine, command: str) -> None:
    assert spectrain(*command.split()) == ExitCode.WRONG_INPUT
    assert "Usage:" in spectrain.err


def test_a_server_that_is_away_is_3_and_says_what_to_do(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs"] = REFUSED

    assert spectrain("jobs", "ls", "--server", "http://127.0.0.1:9") == ExitCode.UNREACHABLE
    assert "http://127.0.0.1:9" in spectrain.err
    assert "spectrain up" in spectrain.err


def test_another_program_on_the_port_is_3_too(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs"] = (200, {"hello": "world"})

    assert spectrain("jobs", "ls") == ExitCode.UNREACHABLE
    assert "not this version of Spectrain" in spectrain.err


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, ExitCode.CONFLICT), (409, ExitCode.CONFLICT), (422, ExitCode.WRONG_INPUT), (500, ExitCode.FAILED)],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_refusal_shows_sentence_and_field(
    server: FakeServer, spectrain: CommandLine, status: int, code: ExitCode, as_json: bool
) -> None:
    server.answers["POST jobs/5/cancel"] = (status, {"error": "It cannot be.", "field": "changes.epochs"})

    assert spectrain("jobs", "cancel", "5", *(["--json"] if as_json else [])) == code

    if as_json:
        assert spectrain.json() == {"error": "It cannot be.", "field": "epochs"}
    else:
        assert spectrain.err == "Error: epochs: It cannot be.\n"


def test_the_server_can_be_named_before_or_after_the_command_or_in_the_environment(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET jobs"] = JobListView(jobs=[])
    monkeypatch.setenv("SPECTRAIN_SERVER", "http://environment:1")

    spectrain("jobs", "ls")
    spectrain("--server", "http://before:2", "jobs", "ls")
    spectrain("--server", "http://before:2", "jobs", "ls", "--server", "http://after:3/")

    assert [request.url.host for request in server.requests] == ["environment", "before", "after"]


@pytest.mark.parametrize(
    ("command", "route", "answer"),
    [
        ("dataset ls", "GET datasets", DatasetListView(datasets=[make_dataset()])),
        ("dataset show kit", "GET datasets/kit", DatasetDetailView(**make_dataset().model_dump(), files=[])),
        ("jobs ls", "GET jobs", JobListView(jobs=[make_job()])),
        ("jobs show 5", "GET jobs/5", make_job()),
        ("jobs save 5", "POST jobs/5/save", make_job()),
        ("jobs preview 5", "POST jobs/5/preview", make_job()),
        ("jobs pause 5", "POST jobs/5/pause", make_job(JobState.PAUSING)),
        ("train kit", "POST jobs", make_job()),
    ],
)
def test_every_command_answers_people_and_programs(
    server: FakeServer, spectrain: CommandLine, command: str, route: str, answer: Any
) -> None:
    server.answers[route] = answer

    assert spectrain(*command.split()) == ExitCode.DONE
    assert "kit" in spectrain.out
    assert spectrain(*command.split(), "--json") == ExitCode.DONE
    assert spectrain.json() == json.loads(answer.model_dump_json())


def test_empty_lists_say_what_comes_next(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET datasets"] = DatasetListView(datasets=[])

    spectrain("dataset", "ls")

    assert "spectrain dataset add" in spectrain.out


def test_filters_of_the_list_are_sent(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs"] = JobListView(jobs=[])

    spectrain("jobs", "ls", "--state", "running", "--state", "queued", "--dataset", "kit")

    assert dict(server.requests[0].url.params) == {"limit": "100", "state": "running,queued", "dataset": "kit"}


def test_a_training_is_sent_with_its_changes(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["POST jobs"] = make_job()

    spectrain(
        *("train", "kit", "--representation", "mel_if", "--preset", "balanced", "--epochs", "7", "--name", "n"),
        *("--device", "cuda:0", "--set", "latent_dim=32", "--set", "spectrogram.n_mels=64", "--set", "objective=beta"),
    )

    assert server.bodies("POST", "jobs") == [
        {
            "kind": "train",
            "dataset": "kit",
            "name": "n",
            "representation": "mel_if",
            "preset": "balanced",
            "changes": {"latent_dim": 32, "spectrogram": {"n_mels": 64}, "objective": "beta", "epochs": 7},
            "device": "cuda:0",
        }
    ]


START = StartPoint(job_id=3, job_name="first", checkpoint="1-250", epoch=12, step=1250, sha256="0" * 64)


@pytest.mark.parametrize(
    ("said", "sent"), [("3", {"job": 3, "checkpoint": ""}), ("3:1-250-1", {"job": 3, "checkpoint": "1-250-1"})]
)
def test_a_training_that_starts_from_another_job_leaves_the_model_to_it(
    server: FakeServer, spectrain: CommandLine, said: str, sent: dict[str, object]
) -> None:
    server.answers["POST jobs"] = make_job(start=START)

    assert spectrain("train", "kit", "--from", said) == ExitCode.DONE

    (body,) = server.bodies("POST", "jobs")
    assert body["start"] == sent
    assert "representation" not in body, "what is not said follows the model"
    assert "starts from job 3 (first), checkpoint 1-250, epoch 12, step 1,250" in spectrain.out


@pytest.mark.parametrize("said", ["", "0", "x", "3:", "3:../x", "3:1-2:3", "-3"])
def test_a_start_of_another_form_is_wrong_usage(server: FakeServer, spectrain: CommandLine, said: str) -> None:
    assert spectrain("train", "kit", "--from", said) == ExitCode.WRONG_INPUT
    assert "JOB:CHECKPOINT" in spectrain.err
    assert server.requests == []


def test_a_start_that_does_not_fit_names_the_difference(server: FakeServer, spectrain: CommandLine) -> None:
    refusal = "The weights were trained with latent_dim 64, and this training says 32."
    server.answers["POST jobs"] = (422, {"error": refusal, "field": "start"})

    assert spectrain("train", "kit", "--from", "3", "--set", "latent_dim=32") == ExitCode.WRONG_INPUT
    assert spectrain.err == f"Error: start: {refusal}\n"


def test_show_tells_what_a_job_started_from_and_how_to_extend_it(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs/5"] = make_job(JobState.COMPLETED, start=START, train=TrainConfig(epochs=20))

    assert spectrain("jobs", "show", "5") == ExitCode.DONE

    assert "job 3 (first), checkpoint 1-250" in spectrain.out
    assert "spectrain jobs resume 5 --epochs 31 extends it." in spectrain.out


def test_extending_with_too_few_epochs_is_refused_in_plain_words(server: FakeServer, spectrain: CommandLine) -> None:
    refusal = "epochs: the job is in epoch 20 already; give that many or more."
    server.answers["GET jobs/5/resume"] = (422, {"error": refusal, "field": "epochs"})

    assert spectrain("jobs", "resume", "5", "--epochs", "3") == ExitCode.WRONG_INPUT
    assert spectrain.err == f"Error: {refusal}\n"


def test_a_device_that_is_none_is_wrong_input(server: FakeServer, spectrain: CommandLine) -> None:
    assert spectrain("train", "kit", "--device", "tpu") == ExitCode.WRONG_INPUT
    assert spectrain.err.startswith("Error: device: this must be auto, cpu, mps (a Mac's), cuda, or one of several")
    assert "^" not in spectrain.err, "a pattern tells nobody anything"
    assert server.requests == []


def test_preprocessing_makes_what_the_training_would_read(server: FakeServer, spectrain: CommandLine) -> None:
    features = FeatureConfig(speeds=(1.0, 0.5))
    server.answers["POST jobs/check"] = CheckView(
        features=features, file_count=1, chunks=1, steps_per_epoch=1, total_steps=1, warnings=[]
    )
    server.answers["POST jobs"] = make_job(kind="preprocess")

    assert spectrain("preprocess", "kit") == ExitCode.DONE

    (body,) = server.bodies("POST", "jobs")
    assert body["kind"] == "preprocess"
    assert body["features"] == features.model_dump(mode="json")


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (("a=1", "b=0.5", "c=true", "d=null", "e=text"), {"a": 1, "b": 0.5, "c": True, "d": None, "e": "text"}),
        (("a.b=1", "a.c=[1, 2]"), {"a": {"b": 1, "c": [1, 2]}}),
        (("a=False", "b="), {"a": False, "b": ""}),
    ],
)
def test_settings_are_json_or_text(settings: tuple[str, ...], changes: dict[str, object]) -> None:
    assert parse_settings(settings) == changes


@pytest.mark.parametrize("settings", [("latent_dim",), ("=3",), ("a=1", "a.b=2")])
def test_settings_of_another_form_are_refused(settings: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter):
        parse_settings(settings)


def test_resume_shows_where_it_goes_on_and_asks(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET jobs/5/resume"] = ResumeSummaryView(job=5, possible=True, checkpoint="1-40", step=40, epoch=2)
    server.answers["GET jobs/5"] = make_job(JobState.CANCELLED)
    server.answers["POST jobs/5/resume"] = make_job()

    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    refused = spectrain("jobs", "resume", "5")
    asked = list(server.bodies("POST", "jobs/5/resume"))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y")
    agreed = spectrain("jobs", "resume", "5", "--epochs", "9")

    assert "1-40" in spectrain.out
    assert (refused, asked) == (ExitCode.INTERRUPTED, [])
    assert agreed == ExitCode.DONE
    assert server.bodies("POST", "jobs/5/resume") == [{"epochs": 9}]


def test_resume_that_is_not_possible_gives_the_reason(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs/5/resume"] = ResumeSummaryView(job=5, possible=False, reason="It runs already.")

    assert spectrain("jobs", "resume", "5", "--yes") == ExitCode.CONFLICT
    assert "It runs already." in spectrain.err


def test_folders_are_walked_for_sounds(sounds: Path, tmp_path: Path) -> None:
    extra = tmp_path / "strange.bin"
    extra.touch()

    names = [name for name, _ in audio_files([sounds, extra])]

    assert names == ["drums/kick.wav", "drums/snares/tight.FLAC", "strange.bin"]


def test_batches_are_bounded(sounds: Path) -> None:
    files = [(str(index), sounds / "kick.wav") for index in range(120)]

    assert [len(batch) for batch in batches(files)] == [50, 50, 20]


def test_adding_uploads_and_names_what_is_refused(server: FakeServer, spectrain: CommandLine, sounds: Path) -> None:
    server.answers["POST datasets"] = make_dataset()
    server.answers["POST datasets/1/files"] = uploaded(
        ("drums/kick.wav", "added", ""), ("drums/snares/tight.FLAC", "refused", "It is too short.")
    )

    assert spectrain("dataset", "add", "kit", str(sounds)) == ExitCode.DONE

    assert "refused: drums/snares/tight.FLAC: It is too short." in spectrain.out
    assert "1 added, 1 refused" in spectrain.out
    assert b'filename="drums/snares/tight.FLAC"' in server.requests[-1].content


def test_adding_to_a_dataset_that_exists(server: FakeServer, spectrain: CommandLine, sounds: Path) -> None:
    server.answers["POST datasets"] = (409, {"error": "There is one.", "field": "name"})
    server.answers["GET datasets"] = DatasetListView(datasets=[make_dataset(id=8, name="other"), make_dataset()])
    server.answers["POST datasets/1/files"] = uploaded(("drums/kick.wav", "duplicate", ""))

    assert spectrain("dataset", "add", "kit", str(sounds), "--json") == ExitCode.DONE
    assert [result["result"] for result in spectrain.json()["files"]] == ["duplicate"]


def test_adding_nothing_usable_fails(server: FakeServer, spectrain: CommandLine, sounds: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    server.answers["POST datasets"] = make_dataset()
    server.answers["POST datasets/1/files"] = uploaded(("drums/kick.wav", "refused", "It is no audio."))

    assert spectrain("dataset", "add", "kit", str(sounds)) == ExitCode.FAILED
    assert spectrain("dataset", "add", "kit", str(empty)) == ExitCode.FAILED
    assert spectrain("dataset", "add", "kit", str(tmp_path / "nowhere")) == ExitCode.WRONG_INPUT


def test_a_batch_that_is_too_large_is_sent_file_by_file(
    server: FakeServer, spectrain: CommandLine, sounds: Path
) -> None:
    def answer(request: httpx.Request) -> Any:
        if request.content.count(b"filename=") > 1 or b"tight" in request.content:
            return (413, {"error": "It is larger than a request may be.", "field": ""})
        return uploaded(("drums/kick.wav", "added", ""))

    server.answers["POST datasets"] = make_dataset()
    server.answers["POST datasets/1/files"] = answer

    assert spectrain("dataset", "add", "kit", str(sounds)) == ExitCode.DONE
    assert "1 added, 1 refused" in spectrain.out


def test_an_upload_that_was_cut_off_is_sent_again(server: FakeServer, spectrain: CommandLine, sounds: Path) -> None:
    server.answers["POST datasets"] = make_dataset()
    server.answers["POST datasets/1/files"] = [REFUSED, REFUSED, uploaded(("drums/kick.wav", "added", ""))]

    assert spectrain("dataset", "add", "kit", str(sounds)) == ExitCode.DONE
