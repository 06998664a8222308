"""Batches and sweeps over HTTP: all or none, in their order, with names that tell the jobs apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.record.datasets import DatasetRecord
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.test_queue_routes import TRAIN, refused, submit, waiting

pytestmark = pytest.mark.usefixtures("drums")


def made(client: FlaskClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"/api/v1/jobs/{path}", json=body)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def views(client: FlaskClient) -> dict[int, dict[str, Any]]:
    return {job["id"]: job for job in client.get("/api/v1/jobs").get_json()["jobs"]}


@pytest.fixture
def voices(datasets: DatasetRecord) -> None:
    datasets.add_clips(datasets.create("voices").id, [clip(number) for number in range(30, 33)])


@pytest.mark.usefixtures("voices")
def test_a_batch_is_queued_in_its_order(client: FlaskClient, core: TwinCore) -> None:
    first = submit(client)
    changed: list[int] = []
    core.jobs.changed = changed.append
    requests = [
        TRAIN | {"changes": {"epochs": 3}, "after": [first]},
        {"kind": "preprocess", "dataset": "voices"},
        TRAIN | {"dataset": "voices", "priority": "high", "held": True},
    ]
    batch = made(client, "batch", {"jobs": requests})
    one, two, three = batch["jobs"]
    assert batch == {"batch": one, "jobs": [one, two, three]}
    assert changed == [one, two, three]
    jobs = views(client)
    assert [jobs[job_id]["batch"] for job_id in (one, two, three)] == [one] * 3
    assert jobs[first]["batch"] is None
    assert waiting(client) == [three, first, one, two]
    assert [jobs[job_id]["dataset"]["clips"] for job_id in (one, two, three)] == [12, 3, 3]
    assert (jobs[one]["after"], jobs[three]["state"]) == ([first], "held")
    events = [client.get(f"/api/v1/jobs/{one}").get_json()["request"]["changes"]]
    assert events == [{"epochs": 3}]


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"changes": {"epochs": 0}}, 422, "jobs.1.changes.epochs"),
        ({"device": "gpu"}, 422, "jobs.1.device"),
        ({"placement": {"labels": ["No"]}}, 422, "jobs.1.placement.labels.0"),
        ({"kind": "generate"}, 422, "jobs.1.kind"),
        ({"dataset": "none"}, 404, "jobs.1.dataset"),
        ({"after": [99]}, 404, "jobs.1.after"),
        ({"start": {"job": 99}}, 404, "jobs.1.start"),
    ],
)
def test_one_wrong_job_keeps_all_from_the_queue_and_is_named(
    client: FlaskClient, wrong: dict[str, Any], status: int, field: str
) -> None:
    answer = refused(client, "jobs/batch", {"jobs": [TRAIN, TRAIN | wrong, TRAIN]})
    assert answer[:2] == (status, field)
    assert answer[2].startswith(f"{field}: ")
    assert waiting(client) == []


@pytest.mark.parametrize("jobs", [[], [TRAIN] * 1001, None, {}])
def test_a_batch_is_bounded(client: FlaskClient, jobs: Any) -> None:
    assert refused(client, "jobs/batch", {"jobs": jobs})[:2] == (422, "jobs")


def test_a_thousand_jobs_with_much_to_say_are_one_batch(client: FlaskClient) -> None:
    long = {"name": "x" * 200, "changes": {"epochs": 3, "speeds": [1.0, 0.5, 2.0], "spectrogram": {"n_mels": 64}}}
    labels = [f"label-{each}".ljust(40, "x") for each in range(16)]
    requests = [TRAIN | long | {"placement": {"labels": labels}}] * 1000
    assert len(json.dumps(requests)) > 1 << 20, "more than other requests may have"
    assert len(made(client, "batch", {"jobs": requests})["jobs"]) == 1000


@pytest.mark.usefixtures("voices")
def test_a_sweep_makes_every_combination_and_names_it(client: FlaskClient) -> None:
    sweep = {
        "job": TRAIN | {"changes": {"epochs": 3, "spectrogram": {"n_fft": 1024}}, "priority": "low"},
        "datasets": ["drums", "voices"],
        "vary": {"latent_dim": [32, 64], "spectrogram.n_mels": [64, 80]},
    }
    batch = made(client, "sweep", sweep)
    jobs = [client.get(f"/api/v1/jobs/{job_id}").get_json() for job_id in batch["jobs"]]
    assert [job["name"] for job in jobs[:3]] == [
        "drums mel, latent_dim 32, spectrogram.n_mels 64",
        "drums mel, latent_dim 32, spectrogram.n_mels 80",
        "drums mel, latent_dim 64, spectrogram.n_mels 64",
    ]
    assert len({job["name"] for job in jobs}) == 8
    told = [(job["dataset"]["name"], job["train"]["latent_dim"], job["train"]["spectrogram"]["n_mels"]) for job in jobs]
    assert told == [(data, dim, mels) for data in ("drums", "voices") for dim in (32, 64) for mels in (64, 80)]
    assert {job["train"]["spectrogram"]["n_fft"] for job in jobs} == {1024}
    assert {job["priority"] for job in jobs} == {"low"}
    assert {job["batch"] for job in jobs} == {batch["batch"]}


def test_presets_and_representations_vary_too(client: FlaskClient) -> None:
    vary = {"learning_rate": [0.001], "preset": ["auto", "balanced"], "representation": ["mel", "mel_if"]}
    batch = made(client, "sweep", {"job": TRAIN, "vary": vary})
    jobs = [client.get(f"/api/v1/jobs/{job_id}").get_json() for job_id in batch["jobs"]]
    assert [job["name"] for job in jobs][:3] == [
        "drums mel, learning_rate 0.001, preset auto",
        "drums mel_if, learning_rate 0.001, preset auto",
        "drums mel, learning_rate 0.001, preset balanced",
    ]
    assert [job["train"]["latent_dim"] for job in jobs] == [64, 128, 64, 128]
    named = made(client, "sweep", {"job": TRAIN | {"name": "night"}, "vary": {"seed": [1, 2]}})
    assert [views(client)[job_id]["name"] for job_id in named["jobs"]] == ["night, seed 1", "night, seed 2"]


@pytest.mark.parametrize(
    ("sweep", "status", "field"),
    [
        ({"vary": {"latent_dims": [1]}}, 422, "vary.latent_dims"),
        ({"vary": {"latent_dim": [32, 0]}}, 422, "vary.latent_dim"),
        ({"vary": {"latent_dim": [32, 32]}}, 422, "vary.latent_dim"),
        ({"vary": {"latent_dim": []}}, 422, "vary.latent_dim"),
        ({"vary": {"latent_dim": 32}}, 422, "vary.latent_dim"),
        ({"vary": {"preset": ["loud"]}}, 422, "vary.preset"),
        ({"vary": {"spectrogram.n_mel": [64]}}, 422, "vary.spectrogram.n_mel"),
        ({"vary": {"seed": list(range(1000)), "epochs": [1, 2]}}, 422, "vary"),
        ({"datasets": ["drums", "none"]}, 404, "datasets.1"),
        ({"datasets": ["drums", "drums"]}, 422, "datasets"),
        ({"job": TRAIN | {"dataset": "none"}}, 404, "job.dataset"),
        ({"job": TRAIN | {"changes": {"epochs": 0}}}, 422, "job.changes.epochs"),
        ({"job": TRAIN | {"device": "gpu"}}, 422, "job.device"),
        ({"job": {"kind": "preprocess", "dataset": "drums"}, "vary": {"seed": [1]}}, 422, "vary"),
    ],
)
def test_a_sweep_that_cannot_work_names_what_is_wrong(
    client: FlaskClient, sweep: dict[str, Any], status: int, field: str
) -> None:
    assert refused(client, "jobs/sweep", {"job": TRAIN} | sweep)[:2] == (status, field)
    assert waiting(client) == []


@pytest.mark.usefixtures("voices")
def test_a_sweep_that_is_checked_tells_its_sum_and_submits_nothing(client: FlaskClient) -> None:
    sweep = {"job": TRAIN, "datasets": ["drums", "voices"], "vary": {"epochs": [2, 5], "batch_size": [2, 4]}}
    check = client.post("/api/v1/jobs/sweep/check", json=sweep).get_json()
    alone = [
        client.post(
            "/api/v1/jobs/check",
            json=TRAIN | {"dataset": dataset, "changes": {"epochs": epochs, "batch_size": batch_size}},
        ).get_json()
        for dataset in ("drums", "voices")
        for epochs in (2, 5)
        for batch_size in (2, 4)
    ]
    assert check["jobs"] == len(alone) == 8
    assert check["all_steps"] == sum(each["total_steps"] for each in alone)
    assert {name: check[name] for name in alone[0]} == alone[0]
    assert check["all_seconds"] is None, "nothing was trained here to go by"
    assert views(client) == {}


def test_a_sweep_that_is_checked_names_what_is_wrong(client: FlaskClient) -> None:
    sweep = {"job": TRAIN, "vary": {"epochs": [2, 0]}}
    told = client.post("/api/v1/jobs/sweep/check", json=sweep)
    assert (told.status_code, told.get_json()["field"]) == (422, "vary.epochs")
    assert told.get_json() == client.post("/api/v1/jobs/sweep", json=sweep).get_json()
