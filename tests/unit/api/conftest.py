"""The web application over a record in a temporary SQLite file and a store in a temporary folder; no Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from flask_socketio import SocketIO
from redis import Redis

from api.app import create_app
from api.curves.keeper import CurveKeeper
from api.keeping.deletion import Unfinished
from api.metrics.observed import Observed
from api.queue.actions import JobActions
from api.queue.switch import QueueSwitch
from api.record.database import Database
from api.record.datasets import DatasetRecord
from api.record.jobs import JobRecord
from api.record.tables import Base
from api.services import EXTENSION
from api.sockets import SocketAccess
from api.views import QueueView, WorkerView
from api.workers.join import JoinedWorkers
from shared.control import Controls
from shared.events import DeviceStatus, WorkerHeartbeat
from shared.jobs import Clip
from shared.settings import Settings
from shared.storage import FolderStorage
from tests.unit.api.network import ADDRESS, Network, application


class TwinControls:
    """Keeps the wishes that would go to Redis."""

    def __init__(self) -> None:
        self.wishes: list[tuple[int, int, str]] = []

    def wish(self, job_id: int, attempt: int, wish: str) -> None:
        self.wishes.append((job_id, attempt, wish))

    def ask(self, job_id: int, attempt: int, what: str) -> None:
        self.wishes.append((job_id, attempt, what))


class TwinRedis:
    """A Redis that knows no worker's heartbeat but those of `alive`."""

    def __init__(self) -> None:
        self.alive: set[str] = set()

    def exists(self, key: str) -> bool:
        return key in self.alive


class TwinCore:
    """What `create_app` needs of a Core, without threads and without Redis."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.queue_views: list[QueueView] = []
        self.settings = Settings(data=data, **settings)
        data.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.settings.record_url)
        Base.metadata.create_all(self.database.engine)
        self.storage = FolderStorage(data / "store")
        self.jobs = JobRecord(self.database)
        self.controls = TwinControls()
        self.curves = CurveKeeper(self.database)
        self.actions = JobActions(self.database, self.jobs, cast(Controls, self.controls))
        self.queue = QueueSwitch(self.database, self.queue_views.append)
        self.online: list[WorkerView] = [worker("w1", "cpu")]
        self.workers = SimpleNamespace(list=lambda: self.online, online=lambda: self.heard)
        self.newest_events = lambda job_ids: dict.fromkeys(job_ids, 0)
        self.relay = SimpleNamespace(emit=None)
        self.access = SocketAccess()
        self.deletions = Unfinished()
        self.joined = JoinedWorkers(settings=self.settings, database=self.database, redis=cast(Redis, TwinRedis()))
        self.checks: dict[str, str] = {"redis": "", "record": ""}
        self.ended: list[str] = []
        self.observed = Observed()
        self.heard: dict[str, WorkerHeartbeat] = {}
        self.readiness = SimpleNamespace(checks=lambda: self.checks, ended=lambda: self.ended, parts=())
        self.changed_datasets: list[int] = []
        self.changed_jobs: list[int] = []
        self.deleted: list[tuple[str, int]] = []

    def gone(self, kind: str, number: int) -> None:
        self.deleted.append((kind, number))

    def job_changed(self, job_id: int) -> None:
        self.changed_jobs.append(job_id)

    def dataset_changed(self, dataset_id: int) -> None:
        self.changed_datasets.append(dataset_id)


def worker(name: str, device: str) -> WorkerView:
    """A worker that is online."""
    return WorkerView(
        name=name,
        host="here",
        state="idle",
        device=DeviceStatus(name=device),
        job_id=None,
        heartbeat_age_s=0.5,
        started_at=0.0,
        versions={},
        system="",
    )


def clip(number: int, *, name: str = "", num_samples: int = 48_000, sample_rate: int = 48_000) -> Clip:
    """A clip that differs from those of other numbers."""
    return Clip(
        sha256=f"{number:064x}",
        name=name or f"sound {number}.wav",
        num_samples=num_samples,
        sample_rate=sample_rate,
        channels=1,
        format="WAV PCM_16",
        size_bytes=2 * num_samples + 44,
    )


@pytest.fixture
def core(tmp_path: Path, record_url: str) -> Iterator[TwinCore]:
    core = TwinCore(tmp_path / "data", database_url=record_url)
    yield core
    core.database.close()


@pytest.fixture
def served(core: TwinCore, tmp_path: Path) -> Iterator[tuple[OpenAPI, SocketIO]]:
    app, sockets = create_app(cast(Any, core), dist=tmp_path / "dist")
    yield app, sockets
    app.extensions[EXTENSION].uploads.close()
    app.extensions[EXTENSION].pictures.close()


@pytest.fixture
def app(served: tuple[OpenAPI, SocketIO]) -> OpenAPI:
    return served[0]


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def network(tmp_path: Path, record_url: str) -> Iterator[Network]:
    """The application on a network; three jobs a minute may be submitted."""
    core = TwinCore(tmp_path / "data", database_url=record_url, host=ADDRESS, submits_per_minute=3)
    network = application(core, tmp_path)
    yield network
    network.app.extensions[EXTENSION].uploads.close()
    network.app.extensions[EXTENSION].pictures.close()
    core.database.close()


@pytest.fixture
def datasets(core: TwinCore) -> DatasetRecord:
    return DatasetRecord(core.database)


@pytest.fixture
def drums(datasets: DatasetRecord) -> int:
    """Id of a dataset `drums` with 12 clips of a second."""
    dataset_id = datasets.create("drums").id
    datasets.add_clips(dataset_id, [clip(number) for number in range(12)])
    return dataset_id
