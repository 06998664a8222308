"""Jobs changed and repeated over HTTP: with the checks of a new job, as far as they have not begun."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.record.datasets import DatasetRecord
from api.record.rows import find
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.test_queue_routes import act, refused, start, submit, waiting

pytestmark = pytest.mark.usefixtures("drums")


def test_a_waiting_training_is_edited_as_if_it_were_new(client: FlaskClient, datasets: DatasetRecord) -> None:
    job_id = submit(client, changes={"epochs": 7, "latent_dim": 16}, name="first")
    datasets.add_clips(1, [clip(50)])
    job = act(client, job_id, "edit", preset="balanced", changes={"epochs": 9}, name="  second ")
    assert (job["name"], job["preset"], job["train"]["epochs"]) == ("second", "balanced", 9)
    assert job["train"]["latent_dim"] == 64, "changes are replaced as a whole"
    assert job["train"]["dropout"] == 0.2
    assert (job["request"]["changes"], job["request"]["name"]) == ({"epochs": 9}, "  second ")
    assert job["dataset"] == {"id": 1, "name": "drums", "version": 1, "clips": 12}, "it keeps its dataset's version"
    assert act(client, job_id, "edit", name="")["name"] == "drums mel"
    assert act(client, job_id, "edit")["train"] == job["train"], "what is not said stays"


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"changes": {"epochs": 0}}, "changes.epochs"),
        ({"changes": {"epoch": 1}}, "changes.epoch"),
        ({"changes": {"preset": "auto"}}, "changes.preset"),
        ({"preset": "loud"}, "preset"),
        ({"device": "gpu"}, "device"),
        ({"priority": "urgent"}, "priority"),
        ({"name": "x" * 201}, "name"),
        ({"placement": {"labels": ["No"]}}, "placement.labels.0"),
        ({"after": [1]}, "after"),
        ({"after": [0]}, "after.0"),
        ({"dataset": "other"}, "dataset"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_edit_that_cannot_work_is_named_and_changes_nothing(
    client: FlaskClient, edit: dict[str, Any], field: str
) -> None:
    job_id = submit(client)
    before = client.get(f"/api/v1/jobs/{job_id}").get_json()
    assert refused(client, f"jobs/{job_id}/edit", {"name": "new"} | edit)[:2] == (422, field)
    assert client.get(f"/api/v1/jobs/{job_id}").get_json() == before


def test_a_priority_puts_a_job_behind_its_equals(client: FlaskClient) -> None:
    one, two, three = submit(client), submit(client, priority="high"), submit(client)
    assert act(client, one, "edit", priority="high")["priority"] == "high"
    assert waiting(client) == [two, one, three]
    assert act(client, two, "edit", priority="high")["id"] == two
    assert waiting(client) == [two, one, three], "the same priority leaves it where it is"


def test_jobs_never_wait_for_each_other(client: FlaskClient) -> None:
    one, two, three = submit(client), submit(client), submit(client)
    assert act(client, two, "edit", after=[one])["after"] == [one]
    assert act(client, three, "edit", after=[two, one])["after"] == [one, two]
    status, field, sentence = refused(client, f"jobs/{one}/edit", {"after": [three]})
    assert (status, field) == (422, "after")
    assert f"waits for job {one} already" in sentence
    assert refused(client, f"jobs/{one}/edit", {"after": [one]})[:2] == (422, "after")
    assert refused(client, f"jobs/{one}/edit", {"after": [99]})[:2] == (404, "after")
    assert act(client, three, "edit", after=[])["after"] == []
    assert act(client, one, "edit", after=[three])["after"] == [three]


def test_a_training_that_has_begun_keeps_its_values(client: FlaskClient, core: TwinCore) -> None:
    job_id = submit(client)
    start(core, job_id, ended="handed_back")
    assert client.get(f"/api/v1/jobs/{job_id}").get_json()["state"] == "queued"
    for edit in ({"changes": {"epochs": 3}}, {"preset": "balanced"}):
        status, field, sentence = refused(client, f"jobs/{job_id}/edit", edit)
        assert (status, field) == (409, next(iter(edit)))
        assert "duplicate it" in sentence
    assert act(client, job_id, "edit", name="other", priority="low", device="cuda")["name"] == "other"


def test_an_ended_job_is_not_edited(client: FlaskClient, core: TwinCore) -> None:
    job_id = submit(client)
    start(core, job_id, ended="completed")
    assert refused(client, f"jobs/{job_id}/edit", {"name": "other"})[0] == 409


def test_a_preprocess_job_has_no_training_values(client: FlaskClient) -> None:
    job_id = submit(client, kind="preprocess")
    assert refused(client, f"jobs/{job_id}/edit", {"changes": {"epochs": 3}})[:2] == (422, "changes")
    assert act(client, job_id, "edit", name="mine")["name"] == "mine"


@pytest.mark.parametrize(
    ("edit", "goes_on"),
    [
        ({"device": "cpu"}, True),
        ({"placement": {"worker": "here/cpu"}}, True),
        ({"name": "other"}, True),
        ({"device": "cuda"}, False),
        ({"placement": {"worker": "there/cpu"}}, False),
        ({"placement": {"labels": ["studio"]}}, False),
        ({"placement": {"time_limit_s": 60.0}}, False),
    ],
)
def test_a_job_at_work_makes_way_where_it_may_not_stay(
    client: FlaskClient, core: TwinCore, edit: dict[str, Any], goes_on: bool
) -> None:
    job_id = submit(client)
    start(core, job_id)
    needs = _needs(core, job_id)
    job = act(client, job_id, "edit", **edit)
    assert job["state"] == "running", "it saves first"
    assert core.controls.wishes == ([] if goes_on else [(job_id, 1, "hand_back")])
    assert (job["reason"] == "") is goes_on
    assert (_needs(core, job_id) == needs) is (edit.keys() == {"name"} or "time_limit_s" in str(edit))


def _needs(core: TwinCore, job_id: int) -> str:
    with core.database.reading() as session:
        return find(session, job_id).needs


def test_a_duplicate_keeps_every_field(client: FlaskClient, core: TwinCore) -> None:
    first = submit(client)
    body: dict[str, Any] = {
        "name": "mine",
        "device": "cuda:1",
        "representation": "mel_if",
        "preset": "balanced",
        "changes": {"latent_dim": 32},
        "priority": "high",
        "after": [first],
        "placement": {"labels": ["studio"], "time_limit_s": 60.0},
        "held": True,
    }
    original = submit(client, **body)
    act(client, original, "edit", name="edited")
    answer = client.post(f"/api/v1/jobs/{original}/duplicate", json={})
    assert answer.status_code == 201
    copy, source = answer.get_json(), client.get(f"/api/v1/jobs/{original}").get_json()
    assert copy["id"] != original
    same = ("name", "request", "train", "wanted_device", "placement", "priority", "after", "state")
    assert {name: copy[name] for name in same} == {name: source[name] for name in same}
    assert copy["name"] == "edited"
    released = client.post(f"/api/v1/jobs/{original}/duplicate", json={"held": False}).get_json()
    assert released["state"] == "queued"
    start(core, released["id"], ended="completed")
    assert client.post(f"/api/v1/jobs/{released['id']}/duplicate", json={"held": None}).get_json()["state"] == "queued"


@pytest.mark.parametrize(
    "body",
    [
        {"changes": {"epochs": 7, "spectrogram": {"n_mels": 64}, "objective": "beta"}, "preset": "balanced"},
        {"changes": {"epochs": 7, "preview_every": 5}},
        {"kind": "preprocess", "features": {"speeds": [1.0, 0.5]}},
    ],
)
def test_a_job_of_an_old_version_is_duplicated_from_what_it_does(
    client: FlaskClient, core: TwinCore, body: dict[str, Any]
) -> None:
    job_id = submit(client, **body)
    with core.database.session() as session:
        row = find(session, job_id)
        row.request = {}
    original = client.get(f"/api/v1/jobs/{job_id}").get_json()
    assert original["request"] is None
    copy = client.post(f"/api/v1/jobs/{job_id}/duplicate", json={}).get_json()
    same = ("kind", "name", "train", "features", "preset", "dataset", "priority")
    assert {name: copy[name] for name in same} == {name: original[name] for name in same}
    if original["kind"] == "train":
        assert act(client, job_id, "edit", changes={"epochs": 3})["request"]["changes"] == {"epochs": 3}
