"""Workers that share nothing with the api but the network: each has an empty data folder and a token."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_queue import LONG, SMALL, assert_history_is_whole
from tests.sounds import write_sounds
from tests.system import System


@pytest.fixture
def system(tmp_path: Path, redis_url: str) -> Iterator[System]:
    with System(tmp_path / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        yield system


def start_far_worker(system: System, name: str, folder: Path) -> None:
    """As on another machine: an empty data folder, the api's address, a token."""
    system.start_worker(
        name,
        SPECTRAIN_DATA=str(folder),
        SPECTRAIN_STORAGE=system.url,
        SPECTRAIN_TOKEN=system.post("/tokens", {"name": name})["secret"],
    )


def test_a_training_moves_from_one_machine_to_another(system: System, tmp_path: Path):
    start_far_worker(system, "near", tmp_path / "near")
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG, "preview_every": 50, "checkpoint_every_s": 5.0})
    system.wait_event(job_id, lambda event: event["body"]["type"] == "preview")
    system.wait_event(job_id, lambda event: event["body"]["type"] == "checkpoint")
    system.post(f"/jobs/{job_id}/cancel")
    cancelled = system.wait_job(job_id, "cancelled")
    assert "Saved step" in cancelled["reason"]
    assert system.stop("near") == 0, system.log("near")
    assert not (tmp_path / "near" / "store").exists()
    shutil.rmtree(tmp_path / "near")

    start_far_worker(system, "far", tmp_path / "far")
    system.post(f"/jobs/{job_id}/resume", {})
    system.wait_event(job_id, lambda event: event["attempt"] == 2 and event["body"]["type"] == "steps")
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")

    assert_history_is_whole(system, job_id)
    steps = [step for event in system.events(job_id, "steps") for step in event["body"]["step"]]
    assert steps == list(range(1, len(steps) + 1))  # the very step, and features that were not made again
    phases = [event["body"]["phase"] for event in system.events(job_id, "progress") if event["attempt"] == 2]
    assert "features" not in phases
    assert system.http.get(f"/jobs/{job_id}/previews").json()["previews"]
    assert system.stop("far") == 0, system.log("far")
