"""Jobs over HTTP: submitting, listing, controlling; and every way to ask for it wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.api.conftest import TwinCore

TRAIN: dict[str, Any] = {"kind": "train", "dataset": "drums"}

ON_BOTH_DATABASES = True


def submitted(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/jobs", json=TRAIN | body)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


@pytest.mark.usefixtures("drums")
def test_a_training_is_submitted_with_its_whole_configuration(client: FlaskClient) -> None:
    job = submitted(client, changes={"epochs": 7, "spectrogram": {"n_mels": 64}}, preset="balanced")
    assert (job["id"], job["state"], job["name"], job["preset"]) == (1, "queued", "drums mel", "balanced")
    assert job["train"]["epochs"] == 7
    assert job["train"]["dropout"] == 0.2
    assert job["train"]["spectrogram"]["n_mels"] == 64
    assert job["dataset"] == {"id": 1, "name": "drums", "version": 1, "clips": 12}


@pytest.mark.usefixtures("drums")
def test_a_preprocess_job_is_submitted(client: FlaskClient) -> None:
    job = submitted(client, kind="preprocess", name="  two\nlines ")
    assert (job["kind"], job["name"], job["train"]) == ("preprocess", "two lines", None)
    assert job["features"]["representation"] == "mel"


@pytest.mark.usefixtures("drums")
def test_a_check_tells_what_a_request_comes_to_and_submits_nothing(client: FlaskClient, core: TwinCore) -> None:
    check = client.post("/api/v1/jobs/check", json=TRAIN | {"changes": {"epochs": 10, "expansion": 10}}).get_json()
    # 12 files, 0.3 of them held out: 8 chunks, batches of 2.
    assert (check["file_count"], check["chunks"], check["steps_per_epoch"], check["total_steps"]) == (12, 8, 40, 400)
    assert check["warnings"] == []
    core.online = []
    [warning] = client.post("/api/v1/jobs/check", json=TRAIN).get_json()["warnings"]
    assert warning == "The job will wait for a worker: none is online."
    assert client.get("/api/v1/jobs").get_json() == {"jobs": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (TRAIN | {"changes": {"epoch": 3}}, "changes.epoch"),
        (TRAIN | {"changes": {"epochs": 0}}, "changes.epochs"),
        (TRAIN | {"changes": {"epochs": "many"}}, "changes.epochs"),
        (TRAIN | {"changes": {"learning_rate": 2.0}}, "changes.learning_rate"),
        (TRAIN | {"changes": {"objective": ["sigma"]}}, "changes.objective"),
        (TRAIN | {"changes": {"spectrogram": {"n_mels": 1}}}, "changes.spectrogram.n_mels"),
        (TRAIN | {"changes": {"representation": "mel_if"}}, "changes.representation"),
        (TRAIN | {"changes": {"chunk_s": 0.05, "spectrogram": {"n_fft": 16384}}}, "changes"),
        (TRAIN | {"changes": []}, "changes"),
        (TRAIN | {"preset": "best"}, "preset"),
        (TRAIN | {"device": "cuda:x"}, "device"),
        (TRAIN | {"colour": "red"}, "colour"),
        (TRAIN | {"name": "x" * 201}, "name"),
        ({"kind": "train"}, "dataset"),
        ({"kind": "preprocess", "dataset": "drums", "features": {"speeds": [2.0]}}, "features"),
        ({"kind": "generate", "dataset": "drums"}, "kind"),
        ({"dataset": "drums"}, "kind"),
    ],
)
@pytest.mark.usefixtures("drums")
def test_a_wrong_field_is_named(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    for address in ("/api/v1/jobs", "/api/v1/jobs/check"):
        answer = client.post(address, json=body)
        assert answer.status_code == 422, answer.text
        assert answer.get_json()["field"] == field, answer.text
        assert answer.get_json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"null", b'"text"', b'{"x": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, body: bytes) -> None:
    for address in ("/api/v1/jobs", "/api/v1/datasets"):
        answer = client.post(address, data=body, content_type="application/json")
        assert (answer.status_code, answer.mimetype) == (422, "application/json"), body[:20]
        assert answer.get_json()["error"]


@pytest.mark.usefixtures("drums")
def test_a_number_beyond_all_bounds_is_named(client: FlaskClient) -> None:
    body = b'{"kind": "train", "dataset": "drums", "changes": {"learning_rate": 1e400}}'
    answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.get_json()["field"]) == (422, "changes.learning_rate")


def test_a_body_over_a_megabyte_is_refused(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs", data=b" " * (1 << 20 | 1), content_type="application/json")
    assert answer.status_code == 413
    assert "larger" in answer.get_json()["error"]


def test_a_dataset_without_files_cannot_be_trained_on(client: FlaskClient) -> None:
    client.post("/api/v1/datasets", json={"name": "empty"})
    answer = client.post("/api/v1/jobs", json=TRAIN | {"dataset": "empty"})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "dataset")
    assert client.post("/api/v1/jobs", json=TRAIN | {"dataset": "none"}).status_code == 404


@pytest.mark.usefixtures("drums")
def test_jobs_are_listed_by_state_kind_dataset_and_name(client: FlaskClient) -> None:
    submitted(client, name="first")
    submitted(client, name="second", kind="preprocess")
    client.post("/api/v1/jobs/1/cancel")

    def listed(query: str) -> list[int]:
        answer = client.get(f"/api/v1/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.get_json()["jobs"]]

    assert listed("") == [2, 1]
    assert listed("state=queued,held") == [2]
    assert listed("kind=train") == [1]
    assert listed("dataset=drums&limit=1") == [2]
    assert listed("q=FIRS") == [1]


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=gone", "state"), ("kind=x", "kind"), ("limit=0", "limit"), ("limit=99999999", "limit"), ("x=1", "x")],
)
def test_a_wrong_query_is_named(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/api/v1/jobs?{query}")
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)


@pytest.mark.usefixtures("drums")
def test_events_are_bounded(client: FlaskClient) -> None:
    submitted(client)
    assert client.get("/api/v1/jobs/1/events").get_json() == {"events": [], "last": 0}
    for query in ("after=-1", "limit=0", "limit=1000000", "types=A'", "after=x"):
        assert client.get(f"/api/v1/jobs/1/events?{query}").status_code == 422


@pytest.mark.usefixtures("drums")
def test_a_job_is_cancelled_and_what_its_state_forbids_is_a_conflict(client: FlaskClient) -> None:
    submitted(client)
    assert client.post("/api/v1/jobs/1/cancel").get_json()["state"] == "cancelled"
    for action in ("cancel", "pause", "save", "preview"):
        answer = client.post(f"/api/v1/jobs/1/{action}")
        assert answer.status_code == 409, answer.text
        assert "Job 1" in answer.get_json()["error"]


@pytest.mark.usefixtures("drums")
def test_a_resume_tells_first_and_then_does(client: FlaskClient) -> None:
    submitted(client, changes={"epochs": 5})
    assert client.get("/api/v1/jobs/1/resume").get_json()["possible"] is False
    client.post("/api/v1/jobs/1/cancel")
    summary = client.get("/api/v1/jobs/1/resume?epochs=9").get_json()
    assert (summary["possible"], summary["epochs"]) == (True, 9)
    assert client.post("/api/v1/jobs/1/resume", json={"epochs": 9}).get_json()["state"] == "queued"
    assert client.post("/api/v1/jobs/1/resume", json={}).status_code == 409
    assert client.post("/api/v1/jobs/1/resume", json={"seed": 1}).get_json()["field"] == "seed"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/7",
        "/api/v1/jobs/7/events",
        "/api/v1/jobs/7/checkpoints",
        "/api/v1/jobs/7/previews",
        "/api/v1/jobs/7/resume",
        "/api/v1/jobs/7/checkpoints/1-2/weights",
        "/api/v1/jobs/7/previews/1-2/a.wav",
        "/api/v1/jobs/7/previews/..%2f..%2f..%2frecord/a.wav",
        "/api/v1/jobs/7/previews/.hidden/a.wav",
        "/api/v1/jobs/99999999999999999999",
        "/api/v1/jobs/x",
        "/api/v1/datasets/7",
        "/api/v1/datasets/none",
        "/api/v1/nothing",
        "/assets/nothing.js",
    ],
)
def test_what_is_not_there_is_404_in_json(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/json")
    assert answer.get_json()["error"]


def test_a_wrong_method_is_405_in_json(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jobs/1/cancel")
    assert (answer.status_code, answer.mimetype) == (405, "application/json")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.usefixtures("drums")
def test_weights_and_previews_come_out_of_the_store(client: FlaskClient, core: TwinCore) -> None:
    submitted(client)
    core.storage.write("jobs/1/checkpoints/1-20/model.safetensors", b"weights")
    core.storage.write("jobs/1/checkpoints/1-20/optimizer.safetensors", b"other")
    core.storage.write("jobs/1/previews/1-20/sample-1.wav", b"0123456789")
    with client.get("/api/v1/jobs/1/checkpoints/1-20/weights") as weights:
        assert weights.data == b"weights"
        assert "spectrain-job1-1-20.safetensors" in weights.headers["Content-Disposition"]
        assert "Repr-Digest" not in weights.headers, "there is no manifest to take it from"
    with client.get("/api/v1/jobs/1/previews/1-20/sample-1.wav", headers={"Range": "bytes=2-4"}) as sound:
        assert (sound.status_code, sound.data, sound.mimetype) == (206, b"234", "audio/wav")
        assert "immutable" in sound.headers["Cache-Control"]
    assert client.get("/api/v1/jobs/1/checkpoints/1-40/weights").status_code == 404


@pytest.mark.usefixtures("drums")
def test_presets_follow_the_size_of_the_dataset(client: FlaskClient) -> None:
    listed = client.get("/api/v1/presets?dataset=drums&representation=mel_if").get_json()
    assert listed["file_count"] == 12
    assert [one["preset"] for one in listed["presets"]] == ["auto", "conservative", "balanced", "aggressive"]
    assert {one["train"]["validation_fraction"] for one in listed["presets"]} == {0.3}
    assert {one["train"]["latent_dim"] for one in listed["presets"]} == {128}
    assert client.get("/api/v1/presets").get_json()["file_count"] == 0
    assert client.get("/api/v1/presets?representation=x").get_json()["field"] == "representation"


def test_workers_are_listed(client: FlaskClient) -> None:
    assert [worker["name"] for worker in client.get("/api/v1/workers").get_json()["workers"]] == ["w1"]


def test_datasets_are_made_and_listed(client: FlaskClient, core: TwinCore) -> None:
    assert client.post("/api/v1/datasets", json={"name": "drums"}).status_code == 201
    assert core.changed_datasets == [1]
    assert client.post("/api/v1/datasets", json={"name": "drums"}).status_code == 409
    answer = client.post("/api/v1/datasets", json={"name": "12"})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "name")
    assert [one["name"] for one in client.get("/api/v1/datasets").get_json()["datasets"]] == ["drums"]
