"""What monitoring gets: figures of the record, of workers, of what happened; and the dashboard that draws them."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, text

from api.metrics import standing
from api.metrics.observed import Observed
from api.metrics.standing import read_figures
from api.record.database import Database
from api.record.tables import Dataset, Job
from api.routes.parameters import API, ID
from shared.events import (
    AttemptEnded,
    CheckpointSaved,
    DeviceStatus,
    Event,
    EventBody,
    StateChanged,
    StepMetrics,
    Warned,
    WorkerHeartbeat,
)
from shared.jobs import JobState
from tests.unit.api.conftest import TwinCore

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "spectrain.json"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(client: FlaskClient) -> Samples:
    """Every value that is told, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for sample in family.samples
    }


def value(told: Samples, name: str, **labels: str) -> float | None:
    return told.get((name, frozenset(labels.items())))


def job_row(job_id: int, state: str, **values: Any) -> dict[str, Any]:
    """A job's row without anything that metrics do not look at."""
    return {
        "id": job_id,
        "kind": "train",
        "name": f"job {job_id}",
        "state": state,
        "reason": "",
        "detail": "",
        "dataset_id": 1,
        "dataset_name": "drums",
        "spec": {},
        "wanted_device": "auto",
        "position": float(job_id),
        "attempt": 1,
        "worker": "",
        "device": "",
        "summary": {},
        "created_at": 0.0,
        "queued_at": 0.0,
        **values,
    }


def add_jobs(database: Database, rows: list[dict[str, Any]]) -> None:
    with database.session() as session:
        session.execute(insert(Dataset), [{"id": 1, "name": "drums", "created_at": 0.0}])
        session.execute(insert(Job), rows)


def event(body: EventBody, *, attempt: int = 1, at: float | None = None) -> Event:
    return Event(job_id=1, number=1, attempt=attempt, at=time.time() if at is None else at, body=body)


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_KEPT_S", -1.0)


def test_the_queue_is_told_from_the_record(client: FlaskClient, core: TwinCore) -> None:
    now = time.time()
    add_jobs(
        core.database,
        [
            job_row(1, "queued", queued_at=now - 50.0),
            job_row(2, "queued", queued_at=now - 500.0),
            job_row(3, "completed", queued_at=now - 9000.0),
            job_row(4, "running", worker="w1", device="cuda:0", summary={"steps_per_s": 12.5}),
            job_row(5, "running", worker="w2", device="cpu", summary={"steps_per_s": None}),
        ],
    )
    told = samples(client)
    assert value(told, "spectrain_jobs", state="queued") == 2
    assert value(told, "spectrain_jobs", state="completed") == 1
    assert value(told, "spectrain_jobs", state="failed") == 0
    assert value(told, "spectrain_queue_paused") == 0
    assert value(told, "spectrain_queue_oldest_wait_seconds") == pytest.approx(500.0, abs=30.0)
    assert value(told, "spectrain_job_steps_per_second", job="4", worker="w1", device="cuda:0") == 12.5
    assert value(told, "spectrain_job_steps_per_second", job="5", worker="w2", device="cpu") is None


def test_nobody_waits_in_an_empty_queue(client: FlaskClient) -> None:
    told = samples(client)
    assert value(told, "spectrain_queue_oldest_wait_seconds") == 0
    assert {dict(labels)["state"] for name, labels in told if name == "spectrain_jobs"} == {*JobState}


def test_many_that_ask_cost_one_look_at_the_record(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_KEPT_S", 3600.0)
    assert value(samples(client), "spectrain_jobs", state="queued") == 0
    add_jobs(core.database, [job_row(1, "queued")])
    assert value(samples(client), "spectrain_jobs", state="queued") == 0


def test_workers_are_told_from_their_heartbeats(client: FlaskClient, core: TwinCore) -> None:
    device = DeviceStatus(
        name="cuda:0", memory_total_bytes=100, memory_used_bytes=60, memory_others_bytes=10, utilisation=0.5
    )
    core.heard["pc/cuda:0"] = WorkerHeartbeat(
        name="pc/cuda:0",
        host="pc",
        pid=7,
        device=device,
        state="busy",
        lease_renewals=11,
        started_at=0.0,
        at=time.time() - 3.0,
    )
    told = samples(client)
    who = {"worker": "pc/cuda:0", "device": "cuda:0"}
    assert value(told, "spectrain_workers", state="busy") == 1
    assert value(told, "spectrain_workers", state="idle") == 0
    assert value(told, "spectrain_lease_renewals_total", **who) == 11
    assert value(told, "spectrain_device_memory_bytes", **who) == 100
    assert value(told, "spectrain_device_memory_used_bytes", **who) == 60
    assert value(told, "spectrain_device_memory_others_bytes", **who) == 10
    assert value(told, "spectrain_device_utilisation_ratio", **who) == 0.5
    assert value(told, "spectrain_device_temperature_celsius", **who) is None  # it was not told
    assert 2.0 < (value(told, "spectrain_worker_heartbeat_age_seconds", **who) or 0.0) < 60.0


def test_a_record_that_does_not_answer_is_told_and_the_rest_goes_on(client: FlaskClient, core: TwinCore) -> None:
    assert value(samples(client), "spectrain_part_trouble", part="record") == 0
    with core.database.session() as session:
        session.execute(text("DROP TABLE outbox"))
    told = samples(client)
    assert value(told, "spectrain_part_trouble", part="record") == 1
    assert value(told, "spectrain_jobs", state="queued") is None
    assert value(told, "spectrain_sockets_open") == 0


def test_what_happened_is_counted(core: TwinCore, client: FlaskClient) -> None:
    now = time.time()
    job = Job(**job_row(1, "running", queued_at=now - 100.0, assigned_at=now - 30.0, attempt=2))
    column: list[float | None] = [0.1] * 3
    steps = StepMetrics(
        step=[1, 2, 3],
        epoch=[1, 1, 1],
        loss=column,
        reconstruction=column,
        kl=column,
        kl_weight=column,
        learning_rate=column,
        grad_norm=column,
        step_time_s=column,
        total_steps=3,
    )
    saved = CheckpointSaved(
        name="2-3", epoch=1, step=3, reason="final", best=True, size_bytes=1000, seconds=0.3, kept=[]
    )
    core.observed.recorded(
        job,
        [
            event(StateChanged(state=JobState.STARTING), attempt=1),  # of an attempt that is not the newest
            event(StateChanged(state=JobState.STARTING), attempt=2, at=now - 20.0),
            event(steps, attempt=2),
            event(saved, attempt=2),
            event(Warned(code="disk", message="The disk is full."), attempt=2),
            event(AttemptEnded(outcome="completed"), attempt=2),
            event(StateChanged(state=JobState.COMPLETED), attempt=2, at=now + 60.0),  # by a clock that is ahead
        ],
    )
    told = samples(client)
    assert value(told, "spectrain_job_wait_seconds_count") == 1
    assert value(told, "spectrain_job_wait_seconds_sum") == pytest.approx(70.0)
    assert value(told, "spectrain_event_lag_seconds_count") == 7
    assert value(told, "spectrain_event_lag_seconds_bucket", le="10.0") == 6
    assert value(told, "spectrain_steps_total") == 3
    assert value(told, "spectrain_checkpoint_seconds_sum") == pytest.approx(0.3)
    assert value(told, "spectrain_checkpoint_bytes_total") == 1000
    assert value(told, "spectrain_warnings_total", code="disk") == 1
    assert value(told, "spectrain_attempts_ended_total", outcome="completed") == 1
    assert value(told, "spectrain_attempts_ended_total", outcome="crashed") == 0


def test_requests_are_counted_by_route_and_never_by_address(client: FlaskClient) -> None:
    client.get("/api/v1/jobs/123456")
    client.get("/api/v1/jobs/123457")
    client.get("/a/page/that/somebody/made/up")
    told = samples(client)
    routes = {
        dict(labels)["route"]: count
        for (name, labels), count in told.items()
        if name == "spectrain_http_request_seconds_count"
    }
    assert routes[f"{API}/jobs/<{ID}:job_id>"] == 2
    assert routes["page or nothing"] == 1
    assert not [route for route in routes if "123" in route or "made" in route]


@pytest.fixture
def plans(core: TwinCore) -> Iterator[list[str]]:
    """How SQLite answers what the metrics ask of the table of jobs."""
    add_jobs(core.database, [job_row(number, "completed") for number in range(1, 200)])
    statements: list[tuple[str, Any]] = []
    from sqlalchemy import event as sql_event

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    sql_event.listen(core.database.engine, "before_cursor_execute", keep)
    read_figures(core.database)
    sql_event.remove(core.database.engine, "before_cursor_execute", keep)
    with core.database.engine.connect() as connection:
        yield [
            str(row[3])
            for statement, parameters in statements
            if "jobs" in statement
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_no_job_that_ended_is_read(plans: list[str]) -> None:
    looked = [plan for plan in plans if " jobs" in plan]
    assert len(looked) >= 3
    for plan in looked:
        assert "USING COVERING INDEX" in plan or "SEARCH jobs USING INDEX" in plan, plan


def test_every_metric_of_the_dashboard_exists(client: FlaskClient) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    named = {name for each in expressions for name in re.findall(r"\b(?:spectrain|process)_[a-z_]+", each)}
    families = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    kinds = {family.name: family.type for family in families}
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    there = {f"{name}{suffix}" for name, kind in kinds.items() for suffix in suffixes.get(kind, ("",))}
    if sys.platform != "linux":
        named = {name for name in named if not name.startswith("process_")}  # told by /proc alone
    assert named
    assert named <= there
    drawn = {name for name in there if name.startswith("spectrain_")}
    bases = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named}
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in drawn} <= bases


def test_the_dashboard_is_in_order() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_each_api_counts_for_itself() -> None:
    one, other = Observed(), Observed()
    one.answered(method="GET", route="/", status=200, seconds=0.1)
    assert b"route" in generate_latest(one.registry)
    assert b'route="/"' not in generate_latest(other.registry)
