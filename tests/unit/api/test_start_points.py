"""Trainings that start from another job's checkpoint, over HTTP: what is taken over, what is refused and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.keeping.arrivals import Arrivals
from api.queue.start_points import StartPoints
from api.record.datasets import DatasetRecord
from shared.errors import NotFoundError
from shared.jobs import StartRequest, start_weights_key
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.trainings import Jobs

MODEL: dict[str, Any] = {"latent_dim": 16, "chunk_s": 0.5, "spectrogram": {"n_mels": 64, "n_fft": 1024}}
"""Values of the first job that its weights are bound to."""


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int, datasets: DatasetRecord) -> Jobs:
    """With a second dataset, `voices`."""
    assert drums == 1
    datasets.add_clips(datasets.create("voices").id, [clip(number) for number in range(40, 100)])
    return Jobs(client, core)


@pytest.fixture
def first(jobs: Jobs) -> dict[str, Any]:
    """Job 1, a training with checkpoints of which the second is the best."""
    job = jobs.submit(name="first", representation="mel_if", changes=MODEL | {"mask_threshold": 0.05})
    jobs.save(job, ("1-100", False), ("1-250", True), ("1-300", False))
    return job


@pytest.mark.usefixtures("first")
def test_a_training_on_other_sounds_follows_the_best_model(jobs: Jobs, core: TwinCore) -> None:
    job = jobs.submit(dataset="voices", start={"job": 1}, changes={"learning_rate": 1e-4})

    start = job["start"]
    assert (start["job_id"], start["job_name"]) == (1, "first")
    assert (start["checkpoint"], start["epoch"], start["step"]) == ("1-250", 25, 250)
    assert job["representation"] == "mel_if"
    assert job["name"] == "voices mel_if"
    train = job["train"]
    assert (train["latent_dim"], train["chunk_s"], train["mask_threshold"]) == (16, 0.5, 0.05)
    assert (train["spectrogram"]["n_mels"], train["spectrogram"]["n_fft"]) == (64, 1024)
    assert train["learning_rate"] == 1e-4
    assert train["validation_fraction"] == 0.2, "the rest is what suits the new dataset"
    assert core.storage.read(start_weights_key(start["sha256"])) == b"1-250"


@pytest.mark.usefixtures("first")
def test_the_weights_outlive_the_job_that_made_them(jobs: Jobs, core: TwinCore, client: FlaskClient) -> None:
    start = jobs.submit(start={"job": 1, "checkpoint": "1-100"})["start"]
    core.storage.delete("jobs/1")
    assert core.storage.read(start_weights_key(start["sha256"])) == b"1-100"
    assert client.get("/api/v1/jobs/2").get_json()["start"] == start
    assert [job["start"] for job in client.get("/api/v1/jobs?q=drums").get_json()["jobs"]] == [None, start]


@pytest.mark.usefixtures("first")
def test_a_check_tells_the_start_and_keeps_nothing(jobs: Jobs) -> None:
    status, check = jobs.ask(address="/check", start={"job": 1})
    assert status == 200
    assert check["start"]["checkpoint"] == "1-250"
    assert check["train"]["latent_dim"] == 16
    assert jobs.kept() == []


@pytest.mark.usefixtures("first")
def test_what_is_said_and_fits_is_taken(jobs: Jobs) -> None:
    changes = {"objective": "elbo", "spectrogram": {"n_mels": 64}, "latent_dim": 16, "dropout": 0.3}
    train = jobs.submit(representation="mel_if", preset="balanced", start={"job": 1}, changes=changes)["train"]
    assert (train["objective"], train["dropout"], train["epochs"]) == ("elbo", 0.3, 200)
    assert train["spectrogram"]["n_fft"] == 1024, "the parts of the spectrogram that are not said follow the model"


def test_the_objective_is_followed_with_what_it_brings(jobs: Jobs) -> None:
    jobs.save(jobs.submit(changes={"objective": "beta"}), ("1-100", True))
    train = jobs.submit(start={"job": 1})["train"]
    assert (train["objective"], train["kl_weight"], train["free_bits"]) == ("beta", 0.01, 0.1)


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("address", ["", "/check"])
@pytest.mark.parametrize(
    ("said", "difference"),
    [
        ({"representation": "mel"}, "representation mel_if, and this training says mel"),
        ({"changes": {"latent_dim": 32}}, "latent_dim 16, and this training says 32"),
        ({"changes": {"spectrogram": {"hop_length": 256}}}, "spectrogram.hop_length 512, and this training says 256"),
        ({"changes": {"mask_threshold": 0.5}}, "mask_threshold 0.05, and this training says 0.5"),
        ({"changes": {"chunk_s": 1.0}}, "chunks in frames (chunk_s) 47, and this training says 94"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_difference_named(
    jobs: Jobs, address: str, said: dict[str, Any], difference: str
) -> None:
    status, refusal = jobs.ask(address=address, start={"job": 1}, **said)
    assert (status, refusal["field"]) == (422, "start")
    assert f"The weights were trained with {difference}." in refusal["error"]
    assert jobs.kept() == []


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("start", "status", "sentence"),
    [
        ({"job": 99}, 404, "There is no job 99 to start from."),
        ({"job": 1, "checkpoint": "1-999"}, 404, "Job 1 has no checkpoint '1-999' (any more)"),
        ({"job": 1, "checkpoint": "../../2"}, 404, "no checkpoint"),
        ({"job": 2}, 422, "Job 2 preprocesses, so it has no model"),
        ({"job": 3}, 422, "Job 3 has not saved anything yet"),
        ({"job": 0}, 422, "start.job: "),
        ({"job": 2**80}, 422, "start.job: "),
        ({"job": 1, "colour": "red"}, 422, "start.colour: there is no such field"),
        ("1", 422, "start: "),
    ],
)
def test_a_start_that_is_not_there_is_refused(jobs: Jobs, start: Any, status: int, sentence: str) -> None:
    jobs.submit(kind="preprocess")
    jobs.submit(name="third")
    for address in ("", "/check"):
        answered, refusal = jobs.ask(address=address, start=start)
        assert answered == status, refusal
        assert refusal["field"].startswith("start")
        assert sentence in refusal["error"]


def test_damaged_weights_are_refused_and_not_kept(jobs: Jobs, first: dict[str, Any], core: TwinCore) -> None:
    core.storage.write("jobs/1/checkpoints/1-250/model.safetensors", b"other")
    status, refusal = jobs.ask(start={"job": first["id"]})
    assert (status, refusal["field"]) == (422, "start")
    assert "Checkpoint 1-250 of job 1 is damaged" in refusal["error"]
    assert jobs.kept() == []
    assert [job.id for job in core.jobs.list()] == [first["id"]], "no job without its weights is recorded"


@pytest.mark.usefixtures("first")
def test_a_checkpoint_that_is_replaced_meanwhile_is_named(core: TwinCore, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = StartPoints(jobs=core.jobs, storage=core.storage, arrivals=Arrivals())
    point = starts.find(StartRequest(job=1)).point
    write_file = core.storage.write_file

    def replaced(key: str, path: Path) -> None:
        core.storage.delete("jobs/1/checkpoints/1-250")
        write_file(key, path)

    monkeypatch.setattr(core.storage, "write_file", replaced)
    for _ in range(2):
        with pytest.raises(NotFoundError, match=r"no checkpoint '1-250' \(any more\)"):
            starts.keep(point)
    assert core.storage.names("weights") == []


def test_kept_weights_that_were_damaged_are_kept_anew(jobs: Jobs, first: dict[str, Any], core: TwinCore) -> None:
    key = start_weights_key(jobs.submit(start={"job": first["id"]})["start"]["sha256"])
    core.storage.write(key, b"other")
    jobs.submit(start={"job": first["id"]})
    assert core.storage.read(key) == b"1-250"


def test_without_a_readable_best_one_the_newest_is_taken(jobs: Jobs, first: dict[str, Any], core: TwinCore) -> None:
    core.storage.write("jobs/1/checkpoints/1-250/manifest.json", b"{")
    assert jobs.submit(start={"job": first["id"]})["start"]["checkpoint"] == "1-300"
    status, refusal = jobs.ask(start={"job": first["id"], "checkpoint": "1-250"})
    assert (status, refusal["field"]) == (422, "start"), "one that is named is not replaced by another"
    for name in ("1-300", "1-100"):
        core.storage.delete(f"jobs/1/checkpoints/{name}")
    status, refusal = jobs.ask(start={"job": first["id"]})
    assert status == 422
    assert "No checkpoint of job 1 can be read" in refusal["error"]


def test_a_checkpoint_of_an_older_version_has_the_defaults_of_newer_fields(jobs: Jobs, first: dict[str, Any]) -> None:
    older = {name: value for name, value in first["train"].items() if name not in ("pitches", "spectral_weight")}
    jobs.write(first, "1-250", config=older)
    assert jobs.submit(start={"job": first["id"]})["start"]["checkpoint"] == "1-250"


@pytest.mark.usefixtures("first")
def test_the_form_gets_the_values_of_the_model_that_is_started_from(client: FlaskClient) -> None:
    listed = client.get("/api/v1/presets?dataset=voices&start=1").get_json()
    assert listed["file_count"] == 60
    assert {one["train"]["representation"] for one in listed["presets"]} == {"mel_if"}
    assert {one["train"]["latent_dim"] for one in listed["presets"]} == {16}
    assert {one["train"]["spectrogram"]["n_mels"] for one in listed["presets"]} == {64}
    assert client.get("/api/v1/presets?start=99").status_code == 404
