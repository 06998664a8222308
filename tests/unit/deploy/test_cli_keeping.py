"""The command line and what is kept: pins, deletion, garbage; nothing goes without a yes."""

from __future__ import annotations

from typing import Any

import pytest

from api.keeping.views import CollectedView, DatasetDeletionView, DeletedView, GarbageItem, GarbageView, JobDeletionView
from api.views import CheckpointListView, CheckpointView
from deploy.cli.exit_codes import ExitCode
from tests.unit.deploy.conftest import CommandLine, FakeServer

ITEM = GarbageItem(kind="job", key="jobs/7", reason="The record has no such job.", size_bytes=2_500_000, files=3)


def listing(**marks: bool) -> CheckpointListView:
    values: dict[str, Any] = {"best": False, "newest": False, "epoch": 3, "reason": "save", "seconds": 0.1, "at": 0.0}
    one = CheckpointView(name="1-250", step=250, size_bytes=1_500_000, **{**values, **marks})
    return CheckpointListView(checkpoints=[one])


def plan(**values: Any) -> JobDeletionView:
    said = {"job": 5, "name": "kit mel", "possible": True, "events": 40, "checkpoints": 2, "pinned": 1, "previews": 1}
    return JobDeletionView.model_validate({**said, "size_bytes": 2_500_000, **values})


def test_checkpoints_are_listed_and_pinned(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET jobs/5/checkpoints"] = listing(best=True, pinned=True)
    assert spectrain("jobs", "checkpoints", "5") == ExitCode.DONE
    assert "1-250" in spectrain.out
    assert "best, pinned" in spectrain.out
    server.answers["POST jobs/5/checkpoints/1-250/pin"] = listing(pinned=True)
    assert spectrain("jobs", "pin", "5", "1-250") == ExitCode.DONE
    assert "is kept until it is unpinned" in spectrain.out
    assert spectrain("jobs", "pin", "5", "1-250", "--json") == ExitCode.DONE
    assert spectrain.json()["checkpoints"][0]["pinned"]


def test_the_last_copy_is_unpinned_only_after_a_yes(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET jobs/5/checkpoints"] = listing(pinned=True, only_pinned=True)
    server.answers["POST jobs/5/checkpoints/1-250/unpin"] = CheckpointListView(checkpoints=[])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    assert spectrain("jobs", "unpin", "5", "1-250") == ExitCode.INTERRUPTED
    assert server.bodies("POST", "jobs/5/checkpoints/1-250/unpin") == []
    assert spectrain("jobs", "unpin", "5", "1-250", "--yes") == ExitCode.DONE
    assert "is deleted" in spectrain.out


def test_a_job_is_deleted_after_a_look_and_a_yes(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET jobs/5/deletion"] = plan()
    server.answers["DELETE jobs/5"] = DeletedView(freed_bytes=2_500_000)
    deleted = [("DELETE", "/api/v1/jobs/5")]

    def asked() -> list[tuple[str, str]]:
        return [(each.method, each.url.path) for each in server.requests if each.method == "DELETE"]

    assert spectrain("jobs", "delete", "5", "--dry-run") == ExitCode.DONE
    assert "Job 5 (kit mel) with 2 checkpoints (1 of them pinned), 1 preview and 40 events: 2.5 MB." in spectrain.out
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    assert spectrain("jobs", "delete", "5") == ExitCode.INTERRUPTED
    assert asked() == []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "y")
    assert spectrain("jobs", "delete", "5") == ExitCode.DONE
    assert "Job 5 is deleted, 2.5 MB freed." in spectrain.out
    assert asked() == deleted
    server.answers["GET jobs/5/deletion"] = plan(possible=False, reason="Job 5 is running: cancel it first.")
    assert spectrain("jobs", "delete", "5", "--yes") == ExitCode.CONFLICT
    assert "cancel it first" in spectrain.err
    assert asked() == deleted


def test_a_dataset_is_deleted_by_its_name(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET datasets/my kit/deletion"] = DatasetDeletionView(
        dataset=1, name="my kit", possible=True, clips=3, shared_clips=1, size_bytes=1000
    )
    server.answers["DELETE datasets/my kit"] = DeletedView(freed_bytes=500, left_bytes=500)
    assert spectrain("dataset", "delete", "my kit", "--dry-run") == ExitCode.DONE
    assert "3 clips (1 of them stay with other datasets): 1.0 kB" in spectrain.out
    assert spectrain("dataset", "delete", "my kit", "--yes") == ExitCode.DONE
    assert (
        "Dataset my kit is deleted, 500 B freed; 500 B could not be removed: spectrain gc finds them within a day."
        in spectrain.out
    )


def test_garbage_is_shown_before_it_goes(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET disk/garbage"] = GarbageView(items=[ITEM] * 40, size_bytes=100_000_000)
    server.answers["POST disk/garbage/collect"] = CollectedView(removed=[ITEM] * 40, freed_bytes=100_000_000, left=[])
    assert spectrain("gc", "--dry-run") == ExitCode.DONE
    assert "The record has no such job." in spectrain.out
    assert "and 10 more" in spectrain.out
    assert "100.0 MB are not needed." in spectrain.out
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    assert spectrain("gc") == ExitCode.INTERRUPTED
    assert server.bodies("POST", "disk/garbage/collect") == []
    assert spectrain("gc", "--yes", "--hours", "2") == ExitCode.DONE
    assert "40 things removed, 100.0 MB freed." in spectrain.out
    assert server.bodies("POST", "disk/garbage/collect") == [{"fresh_s": 7200.0}]
    assert spectrain("gc", "--json") == ExitCode.WRONG_INPUT
    assert spectrain("gc", "--json", "--dry-run") == ExitCode.DONE
    assert len(spectrain.json()["items"]) == 40
    assert spectrain("gc", "--json", "--yes") == ExitCode.DONE
    assert spectrain.json()["freed_bytes"] == 100_000_000


def test_without_garbage_nothing_is_asked(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET disk/garbage"] = GarbageView(items=[], size_bytes=0)
    assert spectrain("gc") == ExitCode.DONE
    assert "Everything that is kept is needed." in spectrain.out
    server.answers["GET disk/garbage"] = GarbageView(items=[ITEM], size_bytes=1)
    server.answers["POST disk/garbage/collect"] = CollectedView(removed=[], freed_bytes=0, left=[ITEM])
    assert spectrain("gc", "--yes") == ExitCode.FAILED
    assert "jobs/7 could not be removed" in spectrain.out
