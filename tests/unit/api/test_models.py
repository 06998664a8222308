"""The models of all jobs over HTTP: which ones they are, in pages, filtered, and quick with many."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select

from api.record.datasets import DatasetRecord
from api.record.tables import Checkpoint, Job
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.trainings import Jobs

MANY: Final = 100_000
QUICK_S: Final = 0.5
"""Generous for a busy machine; it takes a few hundredths."""


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int, datasets: DatasetRecord) -> Jobs:
    """With a second dataset, `voices`."""
    assert drums == 1
    datasets.add_clips(datasets.create("voices").id, [clip(number) for number in range(40, 60)])
    return Jobs(client, core)


def listed(client: FlaskClient, query: str = "") -> list[str]:
    """Job and checkpoint of each model of the first page."""
    answer = client.get(f"/api/v1/models?{query}")
    assert answer.status_code == 200, answer.get_json()
    return [f"{one['job']} {one['checkpoint']}" for one in answer.get_json()["models"]]


def test_there_are_none_at_first(client: FlaskClient) -> None:
    assert client.get("/api/v1/models").get_json() == {"models": [], "next": ""}


@pytest.fixture
def three(jobs: Jobs, client: FlaskClient) -> None:
    """Models of three trainings, one of them at work; the last times are the newest."""
    jobs.save(jobs.submit(name="first"), ("1-100", True), ("1-200", False), ("1-300", False), end=True)
    second = jobs.submit(name="100% loud", dataset="voices", representation="mel_if")
    jobs.save(second, ("1-100", True), ("1-200", True))
    third = jobs.submit(name="third")
    jobs.save(third, ("1-50", False), ("1-60", False))
    assert client.post("/api/v1/jobs/3/checkpoints/1-50/pin").status_code == 200
    jobs.submit(kind="preprocess")


@pytest.mark.usefixtures("three")
def test_best_final_and_pinned_checkpoints_are_models(client: FlaskClient) -> None:
    models = client.get("/api/v1/models").get_json()["models"]
    marks = {
        f"{one['job']} {one['checkpoint']}": [name for name in ("best", "final", "pinned") if one[name]]
        for one in models
    }
    assert marks == {
        "1 1-100": ["best"],
        "1 1-300": ["final"],
        "2 1-200": ["best"],
        "3 1-50": ["pinned"],
    }
    assert [one["at"] for one in models] == sorted((one["at"] for one in models), reverse=True)
    second = next(one for one in models if one["job"] == 2)
    assert (second["job_name"], second["dataset_name"], second["dataset"]) == ("100% loud", "voices", 2)
    assert (second["representation"], second["step"], second["val_reconstruction"]) == ("mel_if", 200, 1 / 200)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("kept=best", {"1", "2"}),
        ("kept=final", {"1"}),
        ("kept=pinned", {"3"}),
        ("representation=mel_if", {"2"}),
        ("q=FIRST", {"1"}),
        ("q=voices", {"2"}),
        ("q=100%25", {"2"}),
        ("q=%25", {"2"}),
        ("q=nothing", set[str]()),
        ("dataset=1", {"1", "3"}),
        ("dataset=1&kept=pinned&q=third", {"3"}),
    ],
)
def test_they_are_filtered(client: FlaskClient, query: str, wanted: set[str]) -> None:
    assert {name.partition(" ")[0] for name in listed(client, query)} == wanted


@pytest.mark.usefixtures("three")
def test_pages_follow_each_other_without_gap_or_double(client: FlaskClient) -> None:
    seen: list[str] = []
    after = ""
    while True:
        answer = client.get("/api/v1/models", query_string={"limit": 1, "after": after}).get_json()
        seen += [f"{one['job']} {one['checkpoint']}" for one in answer["models"]]
        after = answer["next"]
        if not after:
            break
    assert seen == listed(client)


@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "after=1~2~3~4",
        "after=1~99999999999999999999~x",
        "after=1~-99999999999999999999~x",
        "after=nan~1~x",
        "after=1~1~%00",
        "kept=old",
        "limit=0",
        "colour=red",
        "representation=x",
    ],
)
def test_what_cannot_be_asked_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/v1/models?{query}")
    assert answer.status_code == 422
    assert answer.get_json()["field"] == query.partition("=")[0]


@pytest.mark.usefixtures("three")
def test_it_is_quick_with_many(client: FlaskClient, core: TwinCore) -> None:
    with core.database.session() as session:
        job: dict[str, Any] = dict(session.execute(select(*Job.__table__.columns).where(Job.id == 1)).mappings().one())
        row: dict[str, Any] = dict(
            session.execute(select(*Checkpoint.__table__.columns).where(Checkpoint.final)).mappings().one()
        )
        numbers = range(10, MANY + 10)
        session.execute(insert(Job), [job | {"id": number, "name": f"job {number}"} for number in numbers])
        session.execute(insert(Checkpoint), [row | {"job_id": number, "at": 1000.0 + number} for number in numbers])
    assert listed(client, "limit=1") == [f"{MANY + 9} 1-300"]
    for query in ("", "q=first", "q=nobody", "kept=pinned", "representation=mel_if", f"after={MANY / 2}~1~x"):
        started = time.perf_counter()
        listed(client, query)
        took_s = time.perf_counter() - started
        assert took_s < QUICK_S, f"{query!r} took {took_s:.2f} s"
