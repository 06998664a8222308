"""Deleting jobs and datasets over HTTP: what goes, what stays because it is needed, and what a failure leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from api.backup.hold import held
from api.keeping import deletion
from api.keeping.deletion import Deletion
from api.record.datasets import DatasetRecord
from api.record.rows import DELETION, find, move
from api.record.tables import Base, Job, JobEvent
from shared.errors import NotFoundError, StorageError
from shared.jobs import JobState, start_weights_key
from shared.storage import Entry
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.trainings import Jobs


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int) -> Jobs:
    assert drums == 1
    return Jobs(client, core)


@pytest.fixture
def ended(jobs: Jobs, core: TwinCore) -> dict[str, Any]:
    """Job 1, a completed training with checkpoints and a preview."""
    job = jobs.submit(name="first")
    jobs.save(job, ("1-100", True), ("1-200", False), end=True)
    core.storage.write("jobs/1/previews/1-100/a.wav", b"sound")
    to(core, 1, JobState.COMPLETED)
    return job


def to(core: TwinCore, job_id: int, *states: JobState) -> None:
    with core.database.session() as session:
        for state in states:
            move(session, find(session, job_id), state)


def rows(core: TwinCore) -> dict[str, int]:
    """Rows of each table that is about jobs."""
    tables = [table for table in Base.metadata.sorted_tables if "job_id" in table.columns or table.name == "jobs"]
    with core.database.reading() as session:
        return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


@pytest.mark.usefixtures("ended")
def test_all_that_a_job_made_goes_and_the_preview_told_it(client: FlaskClient, core: TwinCore) -> None:
    assert client.post("/api/v1/jobs/1/checkpoints/1-100/pin").status_code == 200
    size_bytes = sum(each.size_bytes for each in core.storage.entries("jobs/1"))
    plan = client.get("/api/v1/jobs/1/deletion").get_json()
    assert plan == {
        "job": 1,
        "name": "first",
        "possible": True,
        "reason": "",
        "blockers": [],
        "events": 3,
        "checkpoints": 2,
        "pinned": 1,
        "previews": 0,
        "size_bytes": size_bytes,
    }
    disk = client.get("/api/v1/jobs/1/disk").get_json()
    assert disk == {"checkpoints_bytes": size_bytes - 5, "previews_bytes": 5, "size_bytes": size_bytes}
    assert client.get("/api/v1/disk").get_json()["size_bytes"] == size_bytes

    answer = client.delete("/api/v1/jobs/1")
    assert (answer.status_code, answer.get_json()) == (200, {"freed_bytes": size_bytes, "left_bytes": 0})
    assert core.storage.names("jobs") == []
    assert set(rows(core).values()) == {0}
    assert client.get("/api/v1/jobs/1").status_code == client.get("/api/v1/jobs/1/deletion").status_code == 404
    assert client.delete("/api/v1/jobs/1").status_code == 404
    assert core.deleted == [("job", 1)]
    assert client.get("/api/v1/disk").get_json()["size_bytes"] == 0


@pytest.mark.usefixtures("ended")
def test_its_number_is_never_that_of_another_job(client: FlaskClient, jobs: Jobs) -> None:
    assert client.delete("/api/v1/jobs/1").status_code == 200
    assert jobs.submit()["id"] == 2
    body = {"jobs": [{"kind": "train", "dataset": "drums"}] * 2}
    assert client.post("/api/v1/jobs/2/cancel").status_code == 200
    assert client.delete("/api/v1/jobs/2").status_code == 200
    assert client.post("/api/v1/jobs/batch", json=body).get_json()["jobs"] == [3, 4]


def test_the_number_of_a_dataset_is_never_that_of_another_one(client: FlaskClient, datasets: DatasetRecord) -> None:
    """An upload that still goes on would bring its files into the other one."""
    first = datasets.create("first").id
    assert client.delete("/api/v1/datasets/first").status_code == 200
    assert datasets.create("second").id > first
    with pytest.raises(NotFoundError):
        datasets.add_clips(first, [clip(1)])


@pytest.mark.usefixtures("ended")
def test_what_waited_for_a_deleted_job_is_edited_and_duplicated(client: FlaskClient, jobs: Jobs) -> None:
    jobs.submit(name="next", after=[1])
    assert client.delete("/api/v1/jobs/1").status_code == 200
    edited = client.post("/api/v1/jobs/2/edit", json={"changes": {"epochs": 9}})
    assert (edited.status_code, edited.get_json()["after"]) == (200, [])
    again = client.post("/api/v1/jobs/2/duplicate", json={})
    assert (again.status_code, again.get_json()["after"]) == (201, [])


def test_a_job_that_has_not_ended_stays(client: FlaskClient, jobs: Jobs, core: TwinCore) -> None:
    jobs.submit()
    for states in ((), (JobState.STARTING, JobState.RUNNING), (JobState.PAUSING,), (JobState.PAUSED,)):
        to(core, 1, *states)
        state = client.get("/api/v1/jobs/1").get_json()["state"]
        plan = client.get("/api/v1/jobs/1/deletion").get_json()
        assert (plan["possible"], plan["reason"]) == (False, f"Job 1 is {state}: cancel it first.")
        answer = client.delete("/api/v1/jobs/1")
        assert (answer.status_code, answer.get_json()["error"]) == (409, plan["reason"])
    assert core.deleted == []


def test_a_job_that_others_wait_for_stays(client: FlaskClient, jobs: Jobs, core: TwinCore) -> None:
    jobs.submit()
    jobs.submit(name="next", after=[1])
    to(core, 1, JobState.CANCELLED)
    plan = client.get("/api/v1/jobs/1/deletion").get_json()
    assert plan["reason"] == "Job 2 waits for job 1 to complete: cancel or edit that first."
    assert plan["blockers"] == [{"id": 2, "name": "next", "state": "queued"}]
    assert client.delete("/api/v1/jobs/1").status_code == 409
    to(core, 2, JobState.CANCELLED)
    assert client.delete("/api/v1/jobs/1").status_code == 200
    assert client.get("/api/v1/jobs/2").get_json()["after"] == []


@pytest.mark.usefixtures("ended")
def test_what_others_started_from_stays_with_them(client: FlaskClient, jobs: Jobs, core: TwinCore) -> None:
    start = jobs.submit(start={"job": 1})["start"]
    key = start_weights_key(start["sha256"])
    core.storage.delete(key)
    plan = client.get("/api/v1/jobs/1/deletion").get_json()
    assert "The weights that job 2 started from are nowhere but with job 1" in plan["reason"]
    assert [job["id"] for job in plan["blockers"]] == [2]
    assert client.delete("/api/v1/jobs/1").status_code == 409
    jobs.submit(start={"job": 1})
    assert client.delete("/api/v1/jobs/1").status_code == 200
    assert core.storage.read(key) == b"1-100"
    assert client.get("/api/v1/jobs/2").get_json()["start"]["job_name"] == "first"


@pytest.mark.usefixtures("ended")
def test_what_the_store_does_not_remove_is_told(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_prefix: str) -> None:
        raise StorageError("The disk is broken.")

    monkeypatch.setattr(core.storage, "delete", broken)
    answer = client.delete("/api/v1/jobs/1").get_json()
    assert answer["freed_bytes"] == 0
    assert answer["left_bytes"] > 0
    assert client.get("/api/v1/jobs/1").status_code == 404, "the record comes first"
    monkeypatch.undo()
    found = client.get("/api/v1/disk/garbage?fresh_s=0").get_json()["items"]
    assert [(item["kind"], item["key"]) for item in found] == [("job", "jobs/1")]


def test_a_dataset_in_use_stays_with_links(client: FlaskClient, jobs: Jobs, core: TwinCore) -> None:
    jobs.submit(name="user")
    plan = client.get("/api/v1/datasets/drums/deletion").get_json()
    assert plan["reason"] == "Dataset drums stays because one job uses it (1): delete them first."
    assert plan["blockers"] == [{"id": 1, "name": "user", "state": "queued"}]
    assert client.delete("/api/v1/datasets/drums").status_code == 409
    client.post("/api/v1/jobs/1/cancel")
    client.delete("/api/v1/jobs/1")
    assert client.delete("/api/v1/datasets/drums").status_code == 200
    assert client.get("/api/v1/datasets").get_json() == {"datasets": []}
    assert core.deleted == [("job", 1), ("dataset", 1)]


def test_clips_go_with_their_last_dataset(client: FlaskClient, datasets: DatasetRecord, core: TwinCore) -> None:
    first, second = datasets.create("first").id, datasets.create("second").id
    for dataset_id, numbers in ((first, (1, 2)), (second, (2, 3))):
        datasets.add_clips(dataset_id, [clip(number) for number in numbers])
    for number in (1, 2, 3):
        core.storage.write(f"clips/{number:064x}", b"sound")
    plan = client.get("/api/v1/datasets/first/deletion").get_json()
    assert (plan["clips"], plan["shared_clips"], plan["size_bytes"]) == (2, 1, clip(1).size_bytes)
    assert client.delete("/api/v1/datasets/first").get_json() == {"freed_bytes": clip(1).size_bytes, "left_bytes": 0}
    assert core.storage.names("clips") == [f"{number:064x}" for number in (2, 3)]
    assert client.delete("/api/v1/datasets/first").status_code == 404


def test_a_job_on_a_dataset_that_was_just_deleted_is_refused(
    client: FlaskClient, jobs: Jobs, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = core.jobs.submit

    def late(job: Any) -> Any:
        assert client.delete("/api/v1/datasets/drums").status_code == 200
        return submit(job)

    monkeypatch.setattr(core.jobs, "submit", late)
    status, answer = jobs.ask()
    assert (status, answer["field"]) == (404, "dataset")
    with core.database.reading() as session:
        assert session.scalars(select(Job.id)).all() == []


@pytest.mark.usefixtures("ended")
def test_events_go_in_slices_and_what_was_interrupted_is_finished(
    client: FlaskClient, jobs: Jobs, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "_SLICE", 2)
    with core.database.session() as session:
        row = session.scalars(select(JobEvent).limit(1)).one()
        session.add_all(
            JobEvent(job_id=1, number=number, attempt=1, type=row.type, at=1.0, body=row.body)
            for number in range(row.number + 100, row.number + 107)
        )
    before = rows(core)["job_events"]
    delete_events = Deletion._delete_events

    def killed(self: Deletion, job_id: int) -> int:
        delete_events(self, job_id)
        raise OSError("killed")

    monkeypatch.setattr(Deletion, "_delete_events", killed)
    assert client.delete("/api/v1/jobs/1").status_code == 500
    assert rows(core)["job_events"] == before - 2
    for address in ("resume", "retry"):
        assert client.post(f"/api/v1/jobs/1/{address}", json={}).status_code == 409
    assert "is being deleted" in client.post("/api/v1/jobs/1/resume", json={"epochs": 9999}).get_json()["error"]
    assert jobs.ask(after=[1])[0] == 404

    left: list[int] = []

    def watched(self: Deletion, job_id: int) -> int:
        done = delete_events(self, job_id)
        left.append(rows(core)["job_events"])
        return done

    monkeypatch.setattr(Deletion, "_delete_events", watched)
    with held(core.database):
        core.deletions.work()
    assert left == [], "it waits until a backup is made"
    core.deletions.work()
    assert core.deleted == [("job", 1)]
    assert left == [max(0, before - 2 - 2 * turn) for turn in range(1, len(left) + 1)]
    assert left[-1] == 0
    assert set(rows(core).values()) == {0}
    assert core.storage.names("jobs") == []
    core.deletions.work()
    assert client.delete("/api/v1/jobs/1").status_code == 404
    assert core.deleted == [("job", 1)]


@pytest.mark.usefixtures("ended")
def test_a_deletion_that_goes_on_is_not_taken_for_an_interrupted_one(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, waits = threading.Event(), threading.Event(), threading.Event()
    delete_events, wait_for = Deletion._delete_events, threading.Condition.wait_for

    def slowly(self: Deletion, job_id: int) -> int:
        begun.set()
        assert go_on.wait(20)
        return delete_events(self, job_id)

    def waiting(self: threading.Condition, *arguments: Any) -> bool:
        waits.set()
        return wait_for(self, *arguments)

    answers: list[int] = []
    monkeypatch.setattr(Deletion, "_delete_events", slowly)
    asking = threading.Thread(target=lambda: answers.append(client.delete("/api/v1/jobs/1").status_code))
    asking.start()
    assert begun.wait(20)
    monkeypatch.setattr(threading.Condition, "wait_for", waiting)
    finishing = threading.Thread(target=core.deletions.work)
    finishing.start()
    assert waits.wait(20)
    go_on.set()
    asking.join(20)
    finishing.join(20)
    assert answers == [200]
    assert core.deleted == [("job", 1)], "told of once"


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(("broken", "gone"), [(1, 2), (2, 1)])
def test_an_interrupted_deletion_that_fails_keeps_no_other_from_being_finished_and_told_of(
    jobs: Jobs, core: TwinCore, monkeypatch: pytest.MonkeyPatch, broken: int, gone: int
) -> None:
    jobs.submit(name="second")
    to(core, 2, JobState.CANCELLED)
    with core.database.session() as session:
        for job_id in (1, 2):
            find(session, job_id).wish = DELETION
    entries = core.storage.entries

    def fails(prefix: str) -> Iterator[Entry]:
        if prefix == f"jobs/{broken}":
            raise StorageError("The store is away.")
        return entries(prefix)

    with monkeypatch.context() as away:
        away.setattr(core.storage, "entries", fails)
        core.deletions.work()
    assert core.deleted == [("job", gone)]
    core.deletions.work()
    assert core.deleted == [("job", gone), ("job", broken)]


@pytest.mark.usefixtures("ended")
def test_nobody_waits_to_write_while_the_store_is_asked(
    client: FlaskClient, jobs: Jobs, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look whether kept weights are there may take as long as the store likes."""
    start = jobs.submit(start={"job": 1})["start"]
    exists, written = core.storage.exists, threading.Event()

    def write() -> None:
        with core.database.session() as session:
            find(session, 1).detail = "written"
        written.set()

    def exists_slowly(key: str) -> bool:
        threading.Thread(target=write, daemon=True).start()
        assert written.wait(20), "the writers' lock is held"
        return exists(key)

    monkeypatch.setattr(core.storage, "exists", exists_slowly)
    assert client.delete("/api/v1/jobs/1").status_code == 200
    assert written.is_set()
    assert start["job_id"] == 1
