"""Pinned checkpoints over HTTP: they outlive what their trainings keep, and can be gone on from and started from."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.checkpoint_files import pinned_folder, trained_folder
from api.record.attempts import attempt_spec
from api.record.rows import find, move
from shared.jobs import JobState, start_weights_key
from tests.unit.api.conftest import TwinCore
from tests.unit.api.trainings import Jobs

FILES = ["manifest.json", "model.safetensors", "state.pt"]


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int) -> Jobs:
    assert drums == 1
    return Jobs(client, core)


@pytest.fixture
def job(jobs: Jobs) -> dict[str, Any]:
    """Job 1, at work, with three checkpoints."""
    job = jobs.submit(name="first")
    jobs.save(job, ("1-100", True), ("1-250", False), ("1-300", False))
    return job


class Pinning:
    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def __call__(self, name: str, action: str = "pin") -> tuple[int, Any]:
        answer = self._client.post(f"/api/v1/jobs/1/checkpoints/{name}/{action}")
        return answer.status_code, answer.get_json()

    def listed(self) -> dict[str, tuple[bool, bool]]:
        """(pinned, only_pinned) by name."""
        answer = self._client.get("/api/v1/jobs/1/checkpoints").get_json()["checkpoints"]
        return {one["name"]: (one["pinned"], one["only_pinned"]) for one in answer}


@pytest.fixture
def pin(client: FlaskClient) -> Pinning:
    return Pinning(client)


def test_a_pinned_one_stays_when_its_trainer_removes_it(
    jobs: Jobs, job: dict[str, Any], pin: Pinning, core: TwinCore, client: FlaskClient
) -> None:
    status, answer = pin("1-250")
    assert status == 200
    assert [(one["name"], one["pinned"]) for one in answer["checkpoints"]] == [
        ("1-300", False),
        ("1-250", True),
        ("1-100", False),
    ]
    jobs.save(job, ("2-400", True), ("2-500", False), kept=1)
    assert pin.listed() == {"2-500": (False, False), "1-250": (True, True)}
    core.storage.delete("jobs/1/checkpoints")

    with client.get("/api/v1/jobs/1/checkpoints/1-250/weights") as weights:
        assert weights.data == b"1-250"
        assert weights.headers["Repr-Digest"] == f"sha-256=:{b64encode(sha256(b'1-250').digest()).decode()}:"
        digest = weights.headers["Repr-Digest"]
    with client.get("/api/v1/jobs/1/checkpoints/1-250/weights", headers={"Range": "bytes=2-3"}) as part:
        assert (part.status_code, part.data, part.headers["Repr-Digest"]) == (206, b"25", digest), "of all of it"
    config = client.get("/api/v1/jobs/1/checkpoints/1-250/config")
    assert config.headers["Content-Disposition"] == "attachment; filename=spectrain-job1-1-250.json"
    told = config.get_json()
    assert (told["step"], told["dataset"]["name"], told["saved_at"]) == (250, "drums", 250.0)
    assert told["model"]["latent_dim"] == told["train"]["latent_dim"] == 64
    start = jobs.submit(start={"job": 1, "checkpoint": "1-250"})["start"]
    assert core.storage.read(start_weights_key(start["sha256"])) == b"1-250"


@pytest.mark.usefixtures("job")
def test_what_is_so_already_changes_nothing(pin: Pinning, core: TwinCore) -> None:
    assert [pin("1-250")[0], pin("1-250")[0]] == [200, 200]
    assert core.storage.names(pinned_folder(1, "1-250")) == FILES
    assert [pin("1-250", "unpin")[0], pin("1-250", "unpin")[0]] == [200, 200]
    assert pin.listed() == {"1-300": (False, False), "1-250": (False, False), "1-100": (False, False)}
    assert core.storage.names("jobs/1/pinned") == []
    assert core.storage.names(trained_folder(1, "1-250")) == FILES


def test_unpinning_the_last_copy_deletes_it(jobs: Jobs, job: dict[str, Any], pin: Pinning, core: TwinCore) -> None:
    pin("1-250")
    jobs.save(job, ("2-400", True), ("2-500", False), kept=1)
    assert pin("1-250", "unpin")[0] == 200
    assert pin.listed() == {"2-500": (False, False)}
    assert core.storage.names("jobs/1/pinned") == []


@pytest.mark.usefixtures("job")
def test_what_is_not_there_is_not_pinned(pin: Pinning, core: TwinCore) -> None:
    for name in ("9-9", "1-100x", "..%2F..%2Fclips"):
        assert pin(name)[0] == 404, name
        assert pin(name, "unpin")[0] == 404, name
    core.storage.delete("jobs/1/checkpoints/1-250")
    status, answer = pin("1-250")
    assert (status, answer["error"]) == (404, "Job 1 has no checkpoint '1-250' (any more): choose another one.")
    core.storage.write("jobs/1/checkpoints/1-300/state.pt", b"other")
    status, answer = pin("1-300")
    assert (status, answer["error"]) == (409, "Checkpoint 1-300 of job 1 is damaged: choose another one.")
    core.storage.write("jobs/1/checkpoints/1-300/manifest.json", b"{")
    assert pin("1-300")[0] == 409
    assert core.storage.names("jobs/1/pinned") == []


@pytest.mark.usefixtures("job")
def test_one_that_is_removed_while_it_is_copied_is_gone_or_kept_whole(
    pin: Pinning, core: TwinCore, jobs: Jobs, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, doomed = core.storage.copy, "state.pt"

    def copy_late(source: str, target: str) -> None:
        if source.endswith(doomed):
            jobs.save(job, ("2-400", True), kept=1)
            core.storage.delete("jobs/1/checkpoints/1-250")
        copy(source, target)

    monkeypatch.setattr(core.storage, "copy", copy_late)
    assert pin("1-250")[0] == 404
    assert core.storage.names("jobs/1/pinned") == []

    jobs.write(job, "1-250")
    jobs.save(job, ("1-250", False), ("3-450", False))
    stat = core.storage.stat

    def removed_after_copy(key: str) -> Any:
        found = stat(key)
        if key.endswith("state.pt"):
            jobs.save(job, ("3-500", True), kept=1)
        return found

    doomed = "none"
    monkeypatch.setattr(core.storage, "stat", removed_after_copy)
    assert pin("1-250")[0] == 200
    assert pin.listed()["1-250"] == (True, True)
    assert core.storage.names(pinned_folder(1, "1-250")) == FILES


@pytest.mark.usefixtures("job")
def test_garbage_is_collected_while_one_is_pinned(
    pin: Pinning, core: TwinCore, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is there before the record says that it is needed."""
    stat = core.storage.stat

    def collected_after_copy(key: str) -> Any:
        found = stat(key)
        if key.endswith("state.pt"):
            assert client.post("/api/v1/disk/garbage/collect", json={"fresh_s": 0}).status_code == 200
        return found

    monkeypatch.setattr(core.storage, "stat", collected_after_copy)
    assert pin("1-250")[0] == 200
    assert pin.listed()["1-250"] == (True, False)
    assert core.storage.names(pinned_folder(1, "1-250")) == FILES
    assert pin("1-250", "unpin")[0] == 200
    assert core.storage.names("jobs/1/pinned") == []


def test_a_job_goes_on_from_a_pinned_one_that_its_trainer_removed(
    jobs: Jobs, job: dict[str, Any], pin: Pinning, core: TwinCore, client: FlaskClient
) -> None:
    pin("1-250")
    jobs.save(job, ("2-400", True), ("2-500", False), kept=1)
    core.storage.delete("jobs/1/checkpoints/1-250")
    body = {"checkpoint": "1-250"}
    assert client.post("/api/v1/jobs/1/resume", json=body).status_code == 409
    assert core.storage.names(trained_folder(1, "1-250")) == [], "nothing is put back for a job that is at work"

    with core.database.session() as session:
        row = find(session, 1)
        move(session, row, JobState.PAUSING)
        move(session, row, JobState.PAUSED)
    assert client.post("/api/v1/jobs/1/resume", json=body).status_code == 200
    assert core.storage.names(trained_folder(1, "1-250")) == FILES
    with core.database.reading() as session:
        spec = attempt_spec(session, find(session, 1))
    assert spec.checkpoint == "1-250"
    assert "1-250" in (spec.checkpoints or ())
    assert pin.listed()["1-250"] == (True, False)
    pin("1-250", "unpin")
    assert pin.listed()["1-250"] == (False, False)


def test_a_worker_on_another_machine_cannot_touch_them(job: dict[str, Any], pin: Pinning, client: FlaskClient) -> None:
    pin("1-250")
    secret = client.post("/api/v1/tokens", json={"name": "w"}).get_json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    for key in ("jobs/1/pinned/1-250", "jobs/1/pinned/1-250/state.pt"):
        assert client.delete(f"/api/v1/store/files/{key}", headers=headers).status_code == 403
    upload = f"/api/v1/store/uploads/{'0' * 64}/jobs/1/pinned/1-250/state.pt?size=1&offset=0"
    assert client.put(upload, headers=headers, data=b"x").status_code == 403
    assert job["id"] == 1
