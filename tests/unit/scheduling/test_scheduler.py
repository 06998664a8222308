"""The rounds of the scheduler: what goes wrong in one part must not keep the others from their work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError

from api.queue.dispatch import Dispatch
from api.queue.reconciler import Active, Reconciler
from api.queue.scheduler import Scheduler
from api.record.database import Database
from api.record.tables import Token, Worker
from api.recorder import Recorder
from api.workers.registry import Registry
from shared.errors import StorageError
from shared.event_bus import EventBus
from shared.jobs import JobState
from shared.storage import FolderStorage


@pytest.fixture
def scheduler(tmp_path: Path) -> Scheduler:
    """A scheduler whose Redis is nowhere."""
    redis = Redis(port=1)
    database, bus, registry = Database(f"sqlite:///{tmp_path / 'record.db'}"), EventBus(redis), cast(Registry, None)
    dispatch = Dispatch(
        database=database,
        redis=redis,
        redis_url="redis://127.0.0.1:1",
        bus=bus,
        registry=registry,
        storage=FolderStorage(tmp_path / "store"),
        changed=lambda _job_id: None,
    )
    return Scheduler(
        database=database,
        redis=redis,
        bus=bus,
        recorder=cast(Recorder, None),
        registry=registry,
        dispatch=dispatch,
        lease_s=2.0,
        changed=lambda _job_id: None,
        shown=lambda _job_id: None,
    )


def test_jobs_at_work_are_looked_after_though_none_can_be_given(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def fail(_dirty: object) -> bool:
        raise StorageError("The store is away.")

    monkeypatch.setattr(scheduler, "_give_out", fail)
    monkeypatch.setattr(scheduler, "_look_at_everything", lambda: looks.append("looked"))
    scheduler._looked_at = 0.0
    with pytest.raises(StorageError):
        scheduler.work()
    assert looks == ["looked"]


def test_a_restart_of_redis_is_not_forgotten_before_it_was_dealt_with(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler._database.migrate()
    told: list[str] = []

    def loading() -> None:
        raise BusyLoadingError("Redis is loading the dataset in memory")

    def info(_section: str) -> dict[str, Any]:
        return {"run_id": "new", "uptime_in_seconds": 1}

    monkeypatch.setattr(scheduler._redis, "info", info)
    monkeypatch.setattr(scheduler._reconciler, "redis_restarted", loading)
    with pytest.raises(BusyLoadingError):
        scheduler._notice_restart()
    monkeypatch.setattr(scheduler._reconciler, "redis_restarted", lambda: told.append("restarted"))
    scheduler._notice_restart()
    scheduler._notice_restart()
    assert told == ["restarted"]


@pytest.mark.parametrize(
    ("token", "worker", "told"),
    [
        ({}, {}, "studio/cpu went silent"),
        (
            {"revoked_at": 1.0},
            {"redis_sha256": ""},
            "The token of studio/cpu was revoked, so the job goes on elsewhere.",
        ),
        ({"expires_at": 1.0}, {}, "The token of studio/cpu has expired"),
        ({}, {"redis_sha256": ""}, "studio/cpu was removed"),
    ],
)
def test_a_worker_that_was_cut_off_is_not_said_to_be_silent(
    scheduler: Scheduler, token: dict[str, float], worker: dict[str, str], told: str
) -> None:
    scheduler._database.migrate()
    with scheduler._database.session() as session:
        session.add(Token(id=1, name="studio", role="worker", sha256="0" * 64, created_at=0.0, **token))
        session.flush()
        known = {"name": "studio/cpu", "token_id": 1, "redis_sha256": "1" * 64, **worker}
        session.add(Worker(first_seen_at=0.0, last_seen_at=0.0, **known))
    assert scheduler._reconciler._why_silent("studio/cpu").startswith(told)
    assert "went silent" in scheduler._reconciler._why_silent("here/cpu"), "one of this machine has no token"


def test_the_fence_goes_up_before_the_last_events_are_read(tmp_path: Path) -> None:
    """Else an end that comes between the two would be taken, and then ignored."""
    order: list[str] = []

    class Twins:
        def grant(self, _job_id: int, attempt: int, _worker: str) -> None:
            order.append(f"fence {attempt}")

        def drain(self, _job_id: int) -> None:
            order.append("drain")
            raise InterruptedError

    reconciler = Reconciler(
        database=Database(f"sqlite:///{tmp_path / 'record.db'}"),
        redis=Redis(port=1),
        recorder=cast(Recorder, Twins()),
        lease_s=2.0,
        send=lambda _attempt, _worker, _last: None,
        changed=lambda _job_id: None,
    )
    reconciler._leases = cast(Any, Twins())
    job = Active(
        id=5, attempt=3, state=JobState.RUNNING, worker="w", secret="", wish="none", needs="", assigned_at=0.0,
        ticket_at=0.0,
    )  # fmt: skip
    with pytest.raises(InterruptedError):
        reconciler._lost(job, "gone")
    assert order == ["fence 4", "drain"]
