"""Workers that were ever seen: what is kept of them, and what a person decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from api.record.database import Database
from api.record.tables import Worker
from api.views import WorkerView
from api.workers.registry import Registry
from shared.errors import NotFoundError, TransitionError
from shared.event_bus import EventBus
from shared.events import DeviceStatus, WorkerHeartbeat
from shared.version import VERSION


class TwinBus:
    """Redis, as far as heartbeats go: what is in `beating` is online."""

    def __init__(self) -> None:
        self.beating: dict[str, WorkerHeartbeat] = {}

    def heartbeats(self, workers: list[str]) -> list[str | None]:
        return [self.beating[name].model_dump_json() if name in self.beating else None for name in workers]

    def leave(self, heartbeat: WorkerHeartbeat) -> None:
        self.beating.pop(heartbeat.name, None)


class Fleet:
    """A registry over a record of its own, and the workers that speak to it."""

    def __init__(self, path: Path) -> None:
        self.database = Database(f"sqlite:///{path / 'record.db'}")
        self.database.migrate()
        self.bus = TwinBus()
        self.pushed: list[WorkerView] = []
        self.registry = self.open()

    def open(self) -> Registry:
        return Registry(self.database, cast(EventBus, self.bus), push=self.pushed.append)

    def beat(self, name: str = "pc/cpu", **said: Any) -> None:
        beat = WorkerHeartbeat.model_validate(
            {
                "name": name,
                "host": "pc",
                "pid": 7,
                "device": DeviceStatus(name="cpu"),
                "state": "idle",
                "versions": {"spectrain": VERSION, "torch": "2.13.0"},
                "started_at": 1.0,
                "at": time.time(),
                **said,
            }
        )
        self.bus.beating[name] = beat
        self.registry.heard(beat)

    def silence(self, monkeypatch: pytest.MonkeyPatch, name: str = "pc/cpu") -> None:
        """Its heartbeat expires; the time that it has to be silent for is over."""
        del self.bus.beating[name]
        monkeypatch.setattr("api.workers.registry._QUIET_S", -1.0)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.database.close()


def test_a_worker_is_known_for_good(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.beat()
    fleet.registry.work()
    fleet.silence(monkeypatch)
    fleet.registry.work()
    assert [(view.name, view.state) for view in fleet.pushed] == [("pc/cpu", "idle"), ("pc/cpu", "offline")]
    [view] = fleet.open().list()
    assert (view.name, view.state, view.job_id) == ("pc/cpu", "offline", None)
    assert view.heartbeat_age_s < 60


def test_a_last_word_takes_a_worker_away_at_once(fleet: Fleet) -> None:
    fleet.beat()
    fleet.beat(state="offline")
    assert fleet.registry.online() == {}
    assert fleet.pushed[-1].state == "offline"
    fleet.beat(pid=8)
    fleet.beat(pid=7, state="offline")
    assert fleet.registry.online()["pc/cpu"].pid == 8, "what has the name by now is still there"


def test_what_a_person_decided_outlives_the_api(fleet: Fleet) -> None:
    fleet.beat(labels=["own"])
    assert fleet.registry.drain("pc/cpu").drained
    assert fleet.registry.label("pc/cpu", ("studio", "big")).labels == ["big", "own", "studio"]
    again = fleet.open()
    [facts] = again.facts(again.refresh().values())
    assert (facts.drained, facts.labels) == (True, {"big", "own", "studio"})
    assert not again.resume("pc/cpu").drained
    assert again.label("pc/cpu", ()).labels == ["own"]
    with pytest.raises(NotFoundError, match="no worker 'nobody'"):
        again.drain("nobody")


def test_a_worker_whose_access_ended_is_not_heard_any_more(fleet: Fleet) -> None:
    fleet.beat()
    fleet.registry.cut_off("pc/cpu")
    assert (fleet.pushed[-1].state, fleet.registry.online()) == ("offline", {})
    fleet.beat()
    assert fleet.registry.online() == fleet.registry.refresh() == {}, "whatever that process still says"
    fleet.beat(started_at=2.0)
    assert list(fleet.registry.online()) == ["pc/cpu"], "a new one is heard"


def test_who_may_be_removed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    fleet.registry.forget_worker = forgotten.append
    fleet.beat()
    with pytest.raises(TransitionError, match="is online: stop it first, or drain it"):
        fleet.registry.remove("pc/cpu")
    fleet.registry.drain("pc/cpu")
    fleet.beat(state="busy", job_id=3)
    with pytest.raises(TransitionError):
        fleet.registry.remove("pc/cpu")
    fleet.beat()
    fleet.registry.remove("pc/cpu")
    assert forgotten == ["pc/cpu"]
    assert fleet.pushed[-1].state == "removed"
    fleet.beat()
    assert fleet.registry.list() == [], "the process that was removed is not heard any more"
    fleet.beat(started_at=2.0)
    assert [view.name for view in fleet.registry.list()] == ["pc/cpu"], "a new one is"
    fleet.silence(monkeypatch)
    fleet.registry.remove("pc/cpu")
    with fleet.database.reading() as session:
        assert session.get(Worker, "pc/cpu") is None


def test_versions_that_differ_are_told(fleet: Fleet) -> None:
    for number in range(3):
        fleet.beat(f"pc{number}/cpu")
    fleet.beat("old/cpu", versions={"spectrain": "0.0.1"})
    fleet.beat("other/cpu", versions={"spectrain": VERSION, "torch": "2.9.0"})
    warnings = {view.name: view.warning for view in fleet.registry.list()}
    assert warnings["pc0/cpu"] == ""
    assert f"gets no job: update it to {VERSION}" in warnings["old/cpu"]
    assert "torch 2.9.0 where most workers run 2.13.0" in warnings["other/cpu"]


def test_the_page_hears_of_changes_at_once_and_of_the_rest_now_and_then(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.workers.registry._PUSHES_PER_S", 1e-6)
    fleet.beat()
    fleet.beat(state="busy", job_id=1)
    fleet.beat(state="busy", job_id=1)
    assert [(view.state, view.job_id) for view in fleet.pushed] == [("idle", None), ("busy", 1)]
    monkeypatch.setattr("api.workers.registry._PUSHES_PER_S", 1e9)
    fleet.beat(state="busy", job_id=1)
    assert len(fleet.pushed) == 3


def test_a_worker_says_that_its_token_ends_soon(fleet: Fleet) -> None:
    fleet.beat("pc/cpu")
    fleet.beat("attic", versions={"spectrain": "0.0.1"})
    fleet.registry.access_ends({"attic": time.time() + 3 * 86_400})
    attic, pc = fleet.registry.list()
    assert pc.warning == ""
    assert attic.warning.startswith("It runs Spectrain 0.0.1 and gets no job")
    assert " Its token ends in 3 days" in attic.warning
