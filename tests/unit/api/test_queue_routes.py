"""The queue over HTTP: paused and let go on; jobs held, released, put in another order, retried."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.queue.line import Line
from api.record.attempts import assign, record_events
from api.record.rows import find
from shared.events import AttemptEnded, AttemptStarted, Event
from tests.unit.api.conftest import TwinCore

TRAIN: dict[str, Any] = {"kind": "train", "dataset": "drums"}
pytestmark = pytest.mark.usefixtures("drums")


def submit(client: FlaskClient, **body: Any) -> int:
    answer = client.post("/api/v1/jobs", json=TRAIN | body)
    assert answer.status_code == 201, answer.text
    return answer.get_json()["id"]


def act(client: FlaskClient, job_id: int, action: str, **body: Any) -> dict[str, Any]:
    """The job afterwards."""
    answer = client.post(f"/api/v1/jobs/{job_id}/{action}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def refused(client: FlaskClient, path: str, body: Any = None) -> tuple[int, str, str]:
    """Status, field and sentence of a refusal."""
    answer = client.post(f"/api/v1/{path}", json={} if body is None else body)
    problem = answer.get_json()
    assert answer.status_code in (404, 409, 422), answer.text
    assert problem["error"], problem
    return answer.status_code, problem["field"], problem["error"]


def waiting(client: FlaskClient) -> list[int]:
    jobs = client.get("/api/v1/jobs?state=queued,held").get_json()["jobs"]
    return [job["id"] for job in jobs]


def start(core: TwinCore, job_id: int, *, ended: str = "") -> None:
    """Have an attempt at work, as a worker would, and end it with an outcome."""
    with core.database.session() as session:
        attempt = assign(session, find(session, job_id), worker="here/cpu", device="cpu").attempt
    bodies: list[Any] = [AttemptStarted(worker="here/cpu", device="cpu")]
    if ended:
        bodies.append(AttemptEnded(outcome=ended, reason="It broke.", elapsed_s=1.0))  # pyright: ignore[reportArgumentType]
    with core.database.session() as session:
        first = find(session, job_id).last_number + 1
        events = [
            Event(job_id=job_id, number=first + index, attempt=attempt, at=1.0, body=body)
            for index, body in enumerate(bodies)
        ]
        record_events(session, {job_id: events})


def test_the_queue_is_paused_until_it_is_resumed(client: FlaskClient, core: TwinCore) -> None:
    assert client.get("/api/v1/queue").get_json() == {"paused": False, "paused_at": None}
    paused = client.post("/api/v1/queue/pause").get_json()
    assert paused["paused"]
    assert paused["paused_at"] > 0
    assert client.post("/api/v1/queue/pause").get_json() == paused, "it keeps saying since when"
    assert client.get("/api/v1/queue").get_json() == paused
    assert client.post("/api/v1/queue/resume").get_json() == {"paused": False, "paused_at": None}
    assert client.post("/api/v1/queue/resume").status_code == 200
    assert [view.paused for view in core.queue_views] == [True, False], "watchers hear of each change once"


def test_a_job_keeps_what_was_asked_of_the_queue(client: FlaskClient) -> None:
    first = submit(client)
    placement = {
        "labels": ["studio"],
        "worker": "here/cpu",
        "min_free_memory_bytes": 1 << 30,
        "only_when_idle": True,
        "hours": {"start": "23:00", "end": "07:00"},
        "time_limit_s": 3600.0,
    }
    job_id = submit(client, priority="high", placement=placement, after=[first, first], held=True, device="cuda:1")
    job = client.get(f"/api/v1/jobs/{job_id}").get_json()
    assert (job["state"], job["priority"], job["after"], job["wanted_device"]) == ("held", "high", [first], "cuda:1")
    assert job["placement"] == placement
    assert job["request"]["placement"] == placement
    assert job["request"]["after"] == [first, first]
    listed = {each["id"]: each for each in client.get("/api/v1/jobs").get_json()["jobs"]}
    assert (listed[job_id]["after"], listed[first]["after"]) == ([first], [])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"after": [0]}, "after.0"),
        ({"after": [2**31]}, "after.0"),
        ({"after": [1] * 101}, "after"),
        ({"priority": "urgent"}, "priority"),
        ({"held": "perhaps"}, "held"),
        ({"placement": {"labels": ["No Label"]}}, "placement.labels.0"),
        ({"placement": {"labels": ["a"] * 17}}, "placement.labels"),
        ({"placement": {"min_free_memory_bytes": -1}}, "placement.min_free_memory_bytes"),
        ({"placement": {"hours": {"start": "25:00", "end": "07:00"}}}, "placement.hours.start"),
        ({"placement": {"time_limit_s": 0}}, "placement.time_limit_s"),
        ({"placement": {"colour": "red"}}, "placement.colour"),
    ],
)
def test_what_cannot_be_asked_of_the_queue_is_named(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    assert refused(client, "jobs", TRAIN | body)[:2] == (422, field)


def test_a_job_to_wait_for_must_exist(client: FlaskClient) -> None:
    for address in ("jobs", "jobs/check"):
        status, field, sentence = refused(client, address, TRAIN | {"after": [7]})
        assert (status, field) == (404, "after")
        assert "no job 7" in sentence


def test_a_held_job_waits_in_its_place_until_it_is_released(client: FlaskClient, core: TwinCore) -> None:
    first, second = submit(client), submit(client)
    assert act(client, first, "hold")["state"] == "held"
    assert act(client, first, "hold")["state"] == "held", "asking twice changes nothing"
    assert waiting(client) == [first, second]
    assert act(client, first, "release")["state"] == "queued"
    assert act(client, first, "release")["state"] == "queued"
    assert waiting(client) == [first, second]
    start(core, first)
    assert refused(client, f"jobs/{first}/hold")[0] == 409
    assert "pause it" in refused(client, f"jobs/{first}/hold")[2]
    assert refused(client, f"jobs/{first}/release")[0] == 409


def test_run_next_puts_a_job_before_all_that_wait(client: FlaskClient) -> None:
    normal, high, low = submit(client), submit(client, priority="high"), submit(client, priority="low", held=True)
    assert waiting(client) == [high, normal, low]
    job = act(client, low, "next")
    assert (job["priority"], job["state"]) == ("high", "queued")
    assert waiting(client) == [low, high, normal]
    assert act(client, low, "next")["position"] == job["position"], "it is there already"


def test_a_moved_job_takes_the_priority_of_its_place(client: FlaskClient) -> None:
    one, two, three = submit(client), submit(client), submit(client)
    high = submit(client, priority="high")
    assert act(client, three, "move", before=one)["priority"] == "normal"
    assert waiting(client) == [high, three, one, two]
    assert act(client, two, "move", before=high)["priority"] == "high"
    assert waiting(client) == [two, high, three, one]
    assert act(client, two, "move", before=None)["priority"] == "normal"
    assert waiting(client) == [high, three, one, two]
    assert act(client, two, "move", before=None)["id"] == two, "it is the last one already"


def test_a_place_that_is_none_is_refused(client: FlaskClient, core: TwinCore) -> None:
    one, two = submit(client), submit(client)
    start(core, two)
    assert refused(client, f"jobs/{one}/move", {"before": 77})[:2] == (404, "before")
    assert refused(client, f"jobs/{one}/move", {"before": one})[:2] == (422, "before")
    assert refused(client, f"jobs/{one}/move", {"before": two})[:2] == (409, "before")
    assert refused(client, f"jobs/{one}/move", {})[:2] == (422, "before")
    for action, body in (("move", {"before": one}), ("next", {})):
        assert refused(client, f"jobs/{two}/{action}", body)[0] == 409


def test_many_moves_into_one_gap_keep_the_order(client: FlaskClient) -> None:
    first, *others = [submit(client) for _ in range(4)]
    expected = list(others)
    for turn in range(60):
        moved = expected[turn % 2]
        act(client, moved, "move", before=expected[2])
        expected.remove(moved)
        expected.insert(1, moved)
        assert waiting(client) == [first, *expected]
    positions = [job["position"] for job in client.get("/api/v1/jobs?state=queued").get_json()["jobs"]]
    assert min(b - a for a, b in pairwise(positions)) > 1e-7
    new = submit(client)
    assert waiting(client) == [first, *expected, new], "new jobs still come last"


def test_who_follows_the_order_hears_of_every_position_that_changed(client: FlaskClient, core: TwinCore) -> None:
    _, *others, last = [submit(client) for _ in range(4)]
    line, changed = Line(), list[int]()
    core.jobs.changed = changed.append
    with core.database.reading() as session:
        line.reload(session)
    at_once = 0
    for turn in range(60):
        act(client, others[turn % 2], "move", before=last)
        at_once = max(at_once, len(changed))
        with core.database.reading() as session:
            line.refresh(session, changed)
        assert line.first(4) == waiting(client)
        assert len(changed) == len(set(changed))
        changed.clear()
    assert at_once == 4, "positions were made whole numbers again"


@pytest.mark.parametrize("outcome", ["failed", "paused", "cancelled"])
def test_a_job_that_did_not_get_to_its_end_is_retried(client: FlaskClient, core: TwinCore, outcome: str) -> None:
    job_id, other = submit(client), submit(client)
    start(core, job_id, ended=outcome)
    job = act(client, job_id, "retry")
    assert (job["state"], job["attempt"]) == ("queued", 1)
    assert waiting(client) == [other, job_id], "it queues up anew"
    assert refused(client, f"jobs/{job_id}/retry")[0] == 409


def test_a_completed_job_is_not_retried(client: FlaskClient, core: TwinCore) -> None:
    job_id = submit(client)
    start(core, job_id, ended="completed")
    assert "duplicate it" in refused(client, f"jobs/{job_id}/retry")[2]


def test_what_waits_is_held_not_paused(client: FlaskClient) -> None:
    assert "hold it" in refused(client, f"jobs/{submit(client)}/pause")[2]


@pytest.mark.parametrize("action", ["hold", "release", "next", "move", "edit", "retry", "duplicate"])
def test_a_job_that_is_not_there_is_404(client: FlaskClient, action: str) -> None:
    assert refused(client, f"jobs/7/{action}", {"before": None} if action == "move" else {})[0] == 404


def test_one_action_on_many_jobs_tells_what_became_of_each(client: FlaskClient, core: TwinCore) -> None:
    queued, at_work, done = submit(client), submit(client), submit(client)
    start(core, at_work)
    start(core, done, ended="completed")
    answer = client.post("/api/v1/jobs/bulk", json={"action": "cancel", "jobs": [queued, done, 99, at_work, queued]})
    results = answer.get_json()["results"]
    assert [(each["job"], each["ok"]) for each in results] == [
        (queued, True),
        (done, False),
        (99, False),
        (at_work, True),
    ]
    assert [bool(each["error"]) for each in results] == [False, True, True, False]
    states = [core.jobs.get(job_id).state for job_id in (queued, at_work, done)]
    assert states == ["cancelled", "cancelling", "completed"]
    assert core.controls.wishes == [(at_work, 1, "cancel")]


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("hold", "queued", "held"),
        ("release", "held", "queued"),
        ("retry", "cancelled", "queued"),
        ("resume", "cancelled", "queued"),
    ],
)
def test_every_action_can_be_done_to_many(client: FlaskClient, action: str, before: str, after: str) -> None:
    jobs = [submit(client, held=before == "held") for _ in range(3)]
    if before == "cancelled":
        client.post("/api/v1/jobs/bulk", json={"action": "cancel", "jobs": jobs})
    assert all(
        each["ok"] for each in client.post("/api/v1/jobs/bulk", json={"action": action, "jobs": jobs}).json["results"]
    )
    assert {job["state"] for job in client.get("/api/v1/jobs").json["jobs"]} == {after}
    assert waiting(client) == jobs, "in the order that they were named in"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "explode", "jobs": [1]}, "action"),
        ({"action": "cancel", "jobs": []}, "jobs"),
        ({"action": "cancel", "jobs": [0]}, "jobs.0"),
        ({"action": "cancel", "jobs": list(range(1, 1002))}, "jobs"),
        ({"action": "cancel"}, "jobs"),
    ],
)
def test_what_cannot_be_done_to_many_is_named(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    assert refused(client, "jobs/bulk", body)[:2] == (422, field)
