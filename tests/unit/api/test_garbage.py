"""Garbage over HTTP: what nobody needs is told with its reason and goes; whatever a job may need stays."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from api.app import create_app
from api.datasets import uploads as uploading
from api.datasets.uploads import Uploads
from api.keeping import arrivals as arriving
from api.keeping.arrivals import EXPECTED_S, Arrivals
from api.keeping.installation import KEY, Installation
from api.record.datasets import AddedClip, DatasetRecord
from api.record.rows import find, move
from api.record.tables import DatasetClip
from api.services import EXTENSION
from shared.config import FeatureConfig, TrainConfig
from shared.errors import NotFoundError, StorageAwayError
from shared.jobs import Clip, JobState
from tests.sounds import write_sounds
from tests.unit.api.conftest import TwinCore
from tests.unit.api.trainings import Jobs

DAY_S = 86_400.0
OTHER = "f" * 64
LONG_S = 20.0


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int) -> Jobs:
    """With the clips of `drums`, which no job uses yet."""
    assert drums == 1
    for number in range(12):
        core.storage.write(f"clips/{number:064x}", b"sound")
    return Jobs(client, core)


@pytest.fixture
def late(client: FlaskClient) -> None:
    """Nothing counts as announced, as hours later."""
    for part in client.application.extensions[EXTENSION].__dict__.values():
        arrivals = getattr(part, "_arrivals", None)
        if arrivals is not None:
            arrivals.expect = lambda _key: None


def found(client: FlaskClient, fresh_s: float = 0) -> dict[str, str]:
    """Reason of each thing that would go."""
    answer = client.get(f"/api/v1/disk/garbage?fresh_s={fresh_s}")
    assert answer.status_code == 200
    return {item["key"]: item["reason"] for item in answer.get_json()["items"]}


def collect(client: FlaskClient, fresh_s: float = 0) -> list[str]:
    answer = client.post("/api/v1/disk/garbage/collect", json={"fresh_s": fresh_s})
    assert answer.status_code == 200
    assert answer.get_json()["left"] == []
    return [item["key"] for item in answer.get_json()["removed"]]


def features_of(job: dict[str, Any], dataset: DatasetRecord) -> str:
    version = dataset.snapshot(job["dataset"]["id"]).version_hash
    config = TrainConfig.model_validate(job["train"]).features() if job["train"] else FeatureConfig()
    return f"features/{config.cache_key(version)}"


@pytest.mark.usefixtures("late")
def test_what_is_needed_stays_and_the_rest_goes(
    client: FlaskClient, jobs: Jobs, core: TwinCore, datasets: DatasetRecord
) -> None:
    first = jobs.submit()
    jobs.save(first, ("1-100", True), ("1-200", False))
    client.post("/api/v1/jobs/1/checkpoints/1-100/pin")
    started = jobs.submit(start={"job": 1})
    made = jobs.submit(kind="preprocess")
    needed = {features_of(job, datasets) for job in (first, started, made)}
    for key in needed:
        core.storage.write(f"{key}/manifest.json", b"{}")
    everything = [
        entry.key for part in ("clips", "features", "jobs", "weights") for entry in core.storage.entries(part)
    ]
    assert found(client) == {}

    garbage = {
        f"clips/{OTHER}": "No dataset has it, in any version.",
        f"features/{OTHER}": "No job reads or makes them.",
        "jobs/1/pinned/1-200": "The checkpoint is not pinned any more.",
        "jobs/99": "The record has no such job.",
        f"weights/{OTHER}.safetensors": "No training starts from them.",
    }
    for key in (
        f"clips/{OTHER}",
        f"features/{OTHER}/manifest.json",
        f"features/{OTHER}/{OTHER}.safetensors",
        "jobs/1/pinned/1-200/state.pt",
        "jobs/99/checkpoints/1-1/state.pt",
        "jobs/99/pinned/1-1/state.pt",
        f"weights/{OTHER}.safetensors",
    ):
        core.storage.write(key, b"12345")
    assert found(client) == garbage
    assert found(client, fresh_s=60) == {}, "what just came may be on its way into the record"
    assert client.get("/api/v1/disk/garbage?fresh_s=0").get_json()["size_bytes"] == 7 * 5
    assert sorted(collect(client)) == sorted(garbage)
    left = [entry.key for part in ("clips", "features", "jobs", "weights") for entry in core.storage.entries(part)]
    assert sorted(left) == sorted(everything)
    assert collect(client) == []


@pytest.mark.usefixtures("late")
def test_an_ended_job_keeps_its_features_until_it_is_deleted(
    client: FlaskClient, jobs: Jobs, core: TwinCore, datasets: DatasetRecord
) -> None:
    key = features_of(jobs.submit(), datasets)
    core.storage.write(f"{key}/manifest.json", b"{}")
    with core.database.session() as session:
        move(session, find(session, 1), JobState.CANCELLED)
    assert collect(client) == []
    client.delete("/api/v1/jobs/1")
    assert collect(client) == [key]


@pytest.mark.usefixtures("late")
def test_clips_of_old_versions_stay(client: FlaskClient, jobs: Jobs, core: TwinCore, datasets: DatasetRecord) -> None:
    jobs.submit()
    with core.database.session() as session:
        for row in session.scalars(select(DatasetClip).limit(4)):
            session.delete(row)
    assert datasets.view(1).clips == 8
    assert collect(client) == []
    client.post("/api/v1/jobs/1/cancel")
    client.delete("/api/v1/jobs/1")
    assert client.delete("/api/v1/datasets/1").status_code == 200
    assert core.storage.names("clips") == []


def test_what_is_announced_stays(client: FlaskClient, jobs: Jobs, core: TwinCore, datasets: DatasetRecord) -> None:
    """Between a look and the removal somebody may come who relies on what is there."""
    key = features_of(jobs.submit(), datasets)
    core.storage.write(f"{key}/manifest.json", b"{}")
    client.post("/api/v1/jobs/1/cancel")
    client.delete("/api/v1/jobs/1")
    assert found(client) == {key: "No job reads or makes them."}
    assert collect(client) == [], "it was asked for within the hour, so it may be asked for again now"
    arrivals = Arrivals()
    arrivals.expect("a")
    core.storage.write("a", b"")
    core.storage.write("b", b"")
    assert not arrivals.remove(core.storage, "a", unneeded=lambda: True)
    assert not arrivals.remove(core.storage, "b", unneeded=lambda: False)
    assert arrivals.remove(core.storage, "b", unneeded=lambda: True)
    assert core.storage.names("clips")
    assert core.storage.exists("a")


@pytest.mark.usefixtures("jobs")
def test_what_was_never_finished_goes_after_a_day(client: FlaskClient, core: TwinCore) -> None:
    uploads = core.settings.data / "uploads" / "artifacts"
    uploads.mkdir(parents=True, exist_ok=True)
    old, fresh = uploads / "old.part", uploads / "fresh.part"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 2 * DAY_S,) * 2)
    assert list(found(client)) == [str(old)]
    assert collect(client) == [str(old)]
    assert (old.exists(), fresh.exists()) == (False, True)


@pytest.mark.usefixtures("jobs")
def test_what_goes_by_itself_meanwhile_is_passed_over(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The api's start removes what killed processes left, too."""
    left = core.settings.data / "store" / "jobs" / ".tmp-left"
    left.mkdir(parents=True)
    for name in ("a", "b"):
        (left / name).write_bytes(b"12345")
    monkeypatch.setattr(core.storage, "stale", lambda **_: iter([left]))
    lstat = Path.lstat

    def lstat_late(path: Path) -> os.stat_result:
        if path.parent == left and path.name == "b":
            path.unlink()
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", lstat_late)
    items = client.get("/api/v1/disk/garbage").get_json()["items"]
    assert [(item["kind"], item["size_bytes"]) for item in items] == [("scratch", 5)]


def test_a_clip_that_comes_in_while_its_dataset_goes_stays(
    client: FlaskClient, core: TwinCore, datasets: DatasetRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another dataset gets the same sound between the look whether it is there and the record."""
    (sound,) = write_sounds(tmp_path, 1)

    def upload(name: str) -> None:
        with sound.open("rb") as file:
            answer = client.post(f"/api/v1/datasets/{name}/files", data={"files": (file, "a.wav")})
        assert answer.get_json()["files"][0]["result"] == "added", answer.get_json()

    for name in ("first", "second"):
        datasets.create(name)
    upload("first")
    uploads: Uploads = client.application.extensions[EXTENSION].uploads
    add_clips = uploads._datasets.add_clips  # the record that this one writes

    def add_late(dataset_id: int, clips: Iterable[Clip], **measures: Any) -> list[AddedClip]:
        assert client.delete("/api/v1/datasets/first").get_json() == {"freed_bytes": 0, "left_bytes": 0}
        assert collect(client) == []
        return add_clips(dataset_id, clips, **measures)

    monkeypatch.setattr(uploads._datasets, "add_clips", add_late)
    upload("second")
    assert len(core.storage.names("clips")) == 1
    assert client.delete("/api/v1/datasets/second").get_json()["freed_bytes"] > 0
    assert core.storage.names("clips") == []


def test_a_clip_that_another_dataset_gets_while_clips_go_stays(
    client: FlaskClient, core: TwinCore, datasets: DatasetRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded after the look what goes, before its turn comes."""
    sounds = write_sounds(tmp_path, 3)
    for name in ("first", "second"):
        datasets.create(name)

    def upload(name: str, path: Path) -> str:
        with path.open("rb") as file:
            answer = client.post(f"/api/v1/datasets/{name}/files", data={"files": (file, path.name)}).get_json()
        return answer["files"][0]["sha256"]

    paths = {upload("first", path): path for path in sounds}
    one, other, last = sorted(paths)
    delete, came = core.storage.delete, {f"clips/{one}": other}

    def delete_slowly(key: str) -> None:
        delete(key)
        if key in came:
            upload("second", paths[came.pop(key)])

    monkeypatch.setattr(core.storage, "delete", delete_slowly)
    assert client.delete("/api/v1/datasets/first").get_json()["freed_bytes"] > 0
    assert core.storage.names("clips") == [other]

    for sha256 in (one, last):
        core.storage.write_file(f"clips/{sha256}", paths[sha256])
    came[f"clips/{one}"] = last
    assert collect(client) == [f"clips/{one}"]
    assert core.storage.names("clips") == sorted([other, last])


def test_a_clip_whose_record_failed_is_garbage(
    client: FlaskClient, core: TwinCore, datasets: DatasetRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dataset is deleted in the middle of an upload: afterwards nobody brings its clips any more."""
    monkeypatch.setattr(uploading, "_CLIPS_PER_COMMIT", 2)
    datasets.create("first")
    uploads: Uploads = client.application.extensions[EXTENSION].uploads

    def gone(_dataset_id: int, _clips: Iterable[Clip], **_measures: Any) -> list[AddedClip]:
        raise NotFoundError("There is no dataset 1.")

    monkeypatch.setattr(uploads._datasets, "add_clips", gone)
    files = [(io.BytesIO(path.read_bytes()), path.name) for path in write_sounds(tmp_path, 3)]
    assert client.post("/api/v1/datasets/first/files", data={"files": files}).status_code == 404
    assert len(core.storage.names("clips")) == 2
    assert len(collect(client)) == 2


def test_a_store_that_takes_long_keeps_only_those_waiting_who_want_the_same(
    core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = Arrivals()
    delete, goes, may_go = core.storage.delete, threading.Event(), threading.Event()

    def delete_slowly(key: str) -> None:
        goes.set()
        assert may_go.wait(LONG_S)
        delete(key)

    core.storage.write("features/a/manifest.json", b"{}")
    monkeypatch.setattr(core.storage, "delete", delete_slowly)
    with ThreadPoolExecutor(4) as pool:
        removal = pool.submit(arrivals.remove, core.storage, "features/a", unneeded=lambda: True)
        assert goes.wait(LONG_S)
        for announce in (arrivals.expect, arrivals.begin, arrivals.end):
            pool.submit(announce, "features/b").result(LONG_S)
        same = [pool.submit(announce, "features/a") for announce in (arrivals.expect, arrivals.begin)]
        assert wait(same, timeout=0.1).done == set()
        may_go.set()
        assert removal.result(LONG_S)
        assert wait(same, timeout=LONG_S).not_done == set()
    assert not core.storage.exists("features/a/manifest.json")


def test_what_was_announced_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "_MANY", 10)
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(arriving, "time", clock)
    arrivals = Arrivals()
    for number in range(1_000):
        now = number * EXPECTED_S / 20
        arrivals.expect(str(number))
    assert len(arrivals._until) <= 2 * 20 + 1


def test_what_another_record_needs_stays(client: FlaskClient, core: TwinCore, jobs: Jobs, tmp_path: Path) -> None:
    """An address of the record that was mistyped makes an empty one, which knows nothing of what is in the store."""
    jobs.submit()
    clips = core.storage.names("clips")
    other = TwinCore(tmp_path / "other")
    other.storage = core.storage
    app, _ = create_app(cast(Any, other), dist=tmp_path / "dist")
    stranger = app.test_client()
    for answer in (
        stranger.get("/api/v1/disk/garbage?fresh_s=0"),
        stranger.post("/api/v1/disk/garbage/collect", json={"fresh_s": 0}),
    ):
        assert answer.status_code == 409
        assert "check DATABASE_URL and SPECTRAIN_STORAGE" in answer.get_json()["error"]
    app.extensions[EXTENSION].uploads.close()
    other.database.close()
    assert core.storage.names("clips") == clips
    assert found(client) == {}


@pytest.mark.usefixtures("jobs")
def test_a_store_that_came_without_its_id_is_left_until_somebody_says_that_it_is_right(
    client: FlaskClient, core: TwinCore
) -> None:
    said = core.storage.read(KEY)
    core.storage.delete(KEY)
    assert client.get("/api/v1/disk/garbage").status_code == 409
    Installation(core.database, core.storage).tie()
    sentence = client.get("/api/v1/disk/garbage").get_json()["error"]
    assert said.decode() in sentence
    core.storage.write(KEY, said)
    assert client.get("/api/v1/disk/garbage").status_code == 200


def test_a_store_that_is_away_at_the_start_gets_its_id_later(core: TwinCore, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_key: str, _data: bytes) -> None:
        raise StorageAwayError("The store does not answer.")

    installation = Installation(core.database, core.storage)
    monkeypatch.setattr(core.storage, "write", away)
    installation.tie()
    monkeypatch.undo()
    assert not core.storage.exists(KEY)
    installation.check()
    assert core.storage.exists(KEY)
