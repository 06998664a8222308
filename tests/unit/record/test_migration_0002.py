"""A record that the first version wrote goes on under the second, with nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from api.queue.line import Line
from api.record.attempts import assign
from api.record.database import HEAD, MIGRATIONS, Database
from api.record.jobs import JobRecord
from api.record.rows import find
from shared.jobs import Clip, DatasetSnapshot, JobState, TrainSpec
from shared.placement import Placement, needs_of
from shared.presets import resolve_train_config

CLIP = Clip(
    sha256="0" * 64, name="a.wav", num_samples=48_000, sample_rate=48_000, channels=1, format="WAV", size_bytes=9
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A record as the first migration leaves it, with a running and two queued jobs."""
    database = Database(f"sqlite:///{tmp_path / 'record.db'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = database.engine
    command.upgrade(config, "0001")
    spec = TrainSpec(
        dataset=DatasetSnapshot(dataset_id=1, name="drums", version=1, version_hash="f" * 64, clips=(CLIP,)),
        train=resolve_train_config(file_count=1, changes={"epochs": 10}),
    )
    row: dict[str, Any] = {
        "kind": "train",
        "reason": "",
        "detail": "",
        "dataset_id": 1,
        "dataset_name": "drums",
        "spec": spec.model_dump_json(),
        "worker": "",
        "device": "",
        "wish": "none",
        "checkpoint_choice": "",
        "fruitless": 0,
        "last_number": 0,
        "summary": json.dumps({}),
        "created_at": 1.0,
        "queued_at": 1.0,
    }
    jobs = [
        {"id": 1, "name": "runs", "state": "running", "wanted_device": "auto", "position": 1.0, "attempt": 3},
        {"id": 2, "name": "waits", "state": "queued", "wanted_device": "cuda", "position": 3.0, "attempt": 0},
        {"id": 3, "name": "is next", "state": "queued", "wanted_device": "auto", "position": 2.0, "attempt": 2},
    ]
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO datasets (id, name, created_at) VALUES (1, 'drums', 1.0)"))
        for job in jobs:
            values = row | job
            names = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({places})"), values)
    yield database
    database.close()


def test_jobs_of_the_first_version_go_on(database: Database) -> None:
    database.migrate()
    with database.reading() as session:
        assert session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
    record = JobRecord(database)
    assert [(job.id, job.state, job.attempt) for job in record.list()] == [
        (1, JobState.RUNNING, 3),
        (3, JobState.QUEUED, 2),
        (2, JobState.QUEUED, 0),
    ]
    line = Line()
    with database.session() as session:
        line.reload(session)
        assert line.first(9) == [3, 2]
        assert {job_id: line.get(job_id).needs for job_id in (2, 3)} == {  # pyright: ignore[reportOptionalMemberAccess]
            2: needs_of("cuda", Placement()),
            3: needs_of("auto", Placement()),
        }
        assert line.still_waits(session, find(session, 3))
        attempt = assign(session, find(session, 3), worker="here/cpu", device="cpu")
    assert attempt.attempt == 3
    assert attempt.spec.dataset.clips == (CLIP,)
