"""Trainings that go on from others, through every real process: started from a checkpoint, extended, taken along."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.numpy import load as load_safetensors

from deploy.cli import run
from deploy.cli.exit_codes import ExitCode
from tests.sounds import write_sounds
from tests.system import JobJson, System

MODEL: dict[str, Any] = {"chunk_s": 0.15, "spectrogram": {"n_fft": 1024, "n_mels": 32}, "latent_dim": 8}
"""A model and examples that take milliseconds a step."""
PACE: dict[str, Any] = {
    "batch_size": 4,
    "expansion": 4,
    "learning_rate": 1e-3,
    "preview_every": 0,
    "speeds": [1.0],
    "first_weights": "random",
}
EPOCHS = 6
KNOWS = 0.7
"""Largest error of the first step, as a share of new weights', that shows what was learned before."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """With two datasets and a worker."""
    folder = tmp_path_factory.mktemp("lineage")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        system.add_dataset("others", write_sounds(folder / "others", 6, first_seed=100))
        system.start_worker("w1")
        yield system


@pytest.fixture(scope="module")
def first(system: System) -> JobJson:
    """A training that ran to its end."""
    job_id = system.train("sounds", **MODEL, **PACE, epochs=EPOCHS)
    return system.wait_job(job_id, "completed")


def start_from(system: System, job_id: int, dataset: str = "others", **changes: Any) -> httpx.Response:
    request = {"kind": "train", "dataset": dataset, "start": {"job": job_id}, "changes": changes}
    return system.http.post("/jobs", json=request)


def first_error(system: System, job_id: int) -> float:
    """Squared error of the job's first step, in the model's own scale: about 1 for a model that knows nothing."""
    return system.events(job_id, "steps")[0]["body"]["reconstruction"][0]


def test_a_training_starts_with_what_the_other_one_learned(system: System, first: JobJson) -> None:
    fresh = system.train("others", **MODEL, **PACE, epochs=1)
    answer = start_from(system, first["id"], **PACE, epochs=2)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    job = answer.json()

    best = next(each for each in system.get(f"/jobs/{first['id']}/checkpoints")["checkpoints"] if each["best"])
    assert (job["start"]["job_id"], job["start"]["job_name"]) == (first["id"], first["name"])
    assert (job["start"]["checkpoint"], job["start"]["epoch"]) == (best["name"], best["epoch"])
    assert {name: job["train"][name] for name in ("chunk_s", "latent_dim")} == {"chunk_s": 0.15, "latent_dim": 8}
    weights = system.http.get(f"/jobs/{first['id']}/checkpoints/{best['name']}/weights").content
    assert hashlib.sha256(weights).hexdigest() == job["start"]["sha256"]

    system.wait_job(fresh, "completed")
    done = system.wait_job(job["id"], "completed")
    assert done["start"] == job["start"], "the queue's watchers are told too"
    assert done["progress"]["step"] == done["progress"]["total_steps"], "its steps are counted from the beginning"
    assert first_error(system, job["id"]) < KNOWS * first_error(system, fresh)
    said = [event["body"]["message"] for event in system.events(job["id"], "log")]
    assert any(f"Starts from job {first['id']}" in line for line in said)


def test_weights_that_do_not_fit_are_refused_with_the_difference_named(system: System, first: JobJson) -> None:
    before = len(system.get("/jobs")["jobs"])
    answer = start_from(system, first["id"], latent_dim=16)
    assert (answer.status_code, answer.json()["field"]) == (422, "start")
    assert "latent_dim 8, and this training says 16" in answer.json()["error"]
    assert len(system.get("/jobs")["jobs"]) == before


def test_a_resumed_training_goes_on_from_its_own_checkpoint(system: System, first: JobJson) -> None:
    job_id = start_from(system, first["id"], **PACE, epochs=100_000).json()["id"]
    system.watch(job_id)
    system.wait_event(job_id, lambda event: event["body"]["type"] == "steps")
    system.post(f"/jobs/{job_id}/cancel")
    saved = system.wait_job(job_id, "cancelled")["last_checkpoint_step"]
    system.post(f"/jobs/{job_id}/resume")
    again = system.wait_event(job_id, lambda event: event["attempt"] == 2 and event["body"]["type"] == "steps")
    assert again["body"]["step"][0] == saved + 1
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")


def test_a_finished_run_is_extended(system: System, first: JobJson) -> None:
    job_id = first["id"]
    for request, status, sentence in (
        ({}, 409, f"to extend it, give more epochs than its {EPOCHS}"),
        ({"epochs": EPOCHS - 1}, 422, f"has done {EPOCHS} epochs already"),
    ):
        answer = system.http.post(f"/jobs/{job_id}/resume", json=request)
        assert answer.status_code == status, answer.text
        assert sentence in answer.json()["error"]
    longer = EPOCHS + 2
    summary = system.get(f"/jobs/{job_id}/resume?epochs={longer}")
    assert (summary["possible"], summary["epoch"], summary["epochs"]) == (True, EPOCHS, longer)
    system.post(f"/jobs/{job_id}/resume", {"epochs": longer})
    job = system.wait_job(job_id, lambda job: job["state"] == "completed" and job["attempt"] == 2)
    assert job["progress"]["step"] == job["progress"]["total_steps"] == summary["total_steps"]
    blocks = [event["body"] for event in system.events(job_id, "steps")]
    steps = [step for block in blocks for step in block["step"]]
    assert steps == list(range(1, job["progress"]["step"] + 1)), "it goes on where it was"
    rates = [rate for block in blocks for rate in block["learning_rate"]]
    done = first["progress"]["step"]
    assert rates[done] > rates[done - 1], "a longer cosine is higher there"
    newest = system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"][0]
    content = system.http.get(f"/jobs/{job_id}/checkpoints/{newest['name']}/weights").content
    assert load_safetensors(content), "and its weights can be had"


def download(system: System, *more: str) -> int:
    """The exit code of `spectrain model download`."""
    return run(["--server", system.url, "model", "download", *more])


def test_a_model_is_downloaded_as_the_page_gives_it(
    system: System, first: JobJson, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--server", system.url, "model", "ls", "--json"]) == ExitCode.DONE
    listed = json.loads(capsys.readouterr().out)
    assert listed == system.get("/models?limit=100")
    best = next(each for each in listed["models"] if each["job"] == first["id"] and each["best"])

    wanted = (str(first["id"]), "--to", str(tmp_path))
    assert download(system, *wanted, "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == best["checkpoint"]
    files = [Path(file["path"]) for file in told["files"]]
    for path, what in zip(files, ("weights", "config"), strict=True):
        answer = system.http.get(f"/jobs/{first['id']}/checkpoints/{best['checkpoint']}/{what}")
        assert path.read_bytes() == answer.content
        assert answer.headers["Content-Disposition"] == f"attachment; filename={path.name}"
    assert set(tmp_path.iterdir()) == set(files)
    assert download(system, *wanted) == ExitCode.DONE, "the same content is in nobody's way"

    files[0].write_bytes(b"my own")
    assert download(system, *wanted) == ExitCode.CONFLICT
    assert "choose another folder with --to" in capsys.readouterr().err
    assert files[0].read_bytes() == b"my own"
    for unknown in (["999999"], [str(first["id"]), "--checkpoint", "9-9"]):
        assert download(system, *unknown, "--to", str(tmp_path / "new")) == ExitCode.CONFLICT
        assert unknown[-1] in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_download_can_be_imported_again(system: System, first: JobJson, tmp_path: Path) -> None:
    assert download(system, str(first["id"]), "--to", str(tmp_path)) == ExitCode.DONE
    (weights,) = tmp_path.glob("*.safetensors")
    assert run(["--server", system.url, "model", "import", str(weights), "--name", "again"]) == ExitCode.DONE
    model = system.get("/models?q=again")["models"][0]
    assert download(system, str(model["job"]), "--to", str(tmp_path)) == ExitCode.DONE
    again = tmp_path / f"spectrain-job{model['job']}-{model['checkpoint']}.safetensors"
    assert load_safetensors(again.read_bytes()).keys() == load_safetensors(weights.read_bytes()).keys()
