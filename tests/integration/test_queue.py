"""The main job through every real process: api, Redis protocol server, Celery worker, trainer, Socket.IO."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import soundfile

from deploy.redis_server import RedisServer
from tests.processes import descendants, seconds_until_gone
from tests.sounds import write_sounds
from tests.system import (
    LONG,
    ROOT,
    SMALL,
    System,
    assert_history_is_whole,
    final_weights,
    first_step,
    steps_of,
    trainers_of,
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("queue")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 8))
        yield system


@pytest.fixture
def worker(system: System) -> Iterator[str]:
    """One worker, online and idle."""
    system.start_worker("w1")
    yield "w1"
    assert system.stop("w1") == 0, system.log("w1")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_a_training_runs_to_its_end(system: System, representation: str) -> None:
    changes = {**SMALL, "epochs": 4, "preview_every": 2}
    request = {"kind": "train", "dataset": "sounds", "representation": representation, "changes": changes}
    planned = system.post("/jobs/check", request)
    job_id = system.train("sounds", representation=representation, **changes)
    job = system.wait_job(job_id, "completed")
    assert job["progress"]["total_steps"] == planned["total_steps"], "the form told what the trainer does"
    assert job["progress"]["epoch"] == 4
    assert job["progress"]["step"] == job["progress"]["total_steps"] > 0
    assert steps_of(system, job_id) == list(range(1, job["progress"]["step"] + 1))
    assert_history_is_whole(system, job_id)
    assert len(system.events(job_id, "epoch")) == 4

    checkpoints = system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"]
    assert checkpoints[0]["step"] == job["progress"]["step"]
    assert any(checkpoint["best"] for checkpoint in checkpoints)
    weights = system.http.get(f"/jobs/{job_id}/checkpoints/{checkpoints[0]['name']}/weights")
    assert weights.status_code == 200

    previews = system.get(f"/jobs/{job_id}/previews")["previews"]
    assert [preview["epoch"] for preview in previews] == [4, 2]
    kinds = {clip["kind"] for clip in previews[0]["clips"]}
    assert kinds == {"reconstruction", "sample"}
    for clip in previews[0]["clips"]:
        for name in filter(None, (clip["audio"], clip["original"])):
            wav = system.http.get(f"/jobs/{job_id}/previews/{previews[0]['name']}/{name}")
            assert wav.headers["content-type"] == "audio/wav"
            sound, _ = soundfile.read(io.BytesIO(wav.content))
            assert np.abs(sound).max() > 1e-3, f"{name} is silent"


@pytest.mark.usefixtures("worker")
def test_cancel_saves_at_once_and_resume_goes_on_at_that_step(system: System) -> None:
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    (trainer,) = trainers_of(system, "w1")
    assert system.post(f"/jobs/{job_id}/cancel")["state"] == "cancelling"
    job = system.wait_job(job_id, "cancelled")
    assert not trainer.is_running(), "cancelled is shown when the process is gone"

    saved = system.events(job_id, "checkpoint")[-1]["body"]
    assert saved["reason"] == "cancel"
    assert job["reason"].startswith(f"Saved step {saved['step']:,} in ")
    assert steps_of(system, job_id)[-1] == saved["step"], "no step is done after the checkpoint"
    folder = system.data / "store" / "jobs" / str(job_id) / "checkpoints" / saved["name"]
    assert (folder / "manifest.json").is_file()

    epochs = saved["epoch"] + 3
    summary = system.get(f"/jobs/{job_id}/resume?epochs={epochs}")
    assert (summary["possible"], summary["step"], summary["checkpoint"]) == (True, saved["step"], saved["name"])
    system.post(f"/jobs/{job_id}/resume", {"epochs": epochs})
    job = system.wait_job(job_id, "completed")
    assert job["attempt"] == 2
    assert steps_of(system, job_id) == list(range(1, job["progress"]["step"] + 1)), "no step is lost or doubled"
    assert_history_is_whole(system, job_id)


@pytest.mark.usefixtures("worker")
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(system: System) -> None:
    changes = {**SMALL, "epochs": 40, "seed": 7}
    whole = system.train("sounds", **changes)
    system.wait_job(whole, "completed")
    parted = system.train_like(whole, "sounds", **changes)
    first_step(system, parted)
    system.post(f"/jobs/{parted}/cancel")
    stopped = system.wait_job(parted, "cancelled")
    assert 0 < stopped["last_checkpoint_step"] < stopped["progress"]["total_steps"], "it was cancelled on the way"
    system.post(f"/jobs/{parted}/resume")
    system.wait_job(parted, "completed")

    assert final_weights(system, parted) == final_weights(system, whole)
    losses = [[event["body"]["train_loss"] for event in system.events(job, "epoch")] for job in (whole, parted)]
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("worker")
def test_save_now_and_preview_now(system: System) -> None:
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    system.post(f"/jobs/{job_id}/save")
    event = system.wait_event(job_id, lambda event: event["body"].get("reason") == "save")
    assert event["body"]["type"] == "checkpoint"
    system.post(f"/jobs/{job_id}/preview")
    preview = system.wait_event(job_id, lambda event: event["body"]["type"] == "preview")["body"]
    assert preview["step"] > 0
    system.post(f"/jobs/{job_id}/pause")
    assert system.wait_job(job_id, "paused")["reason"].startswith("Saved step")
    system.post(f"/jobs/{job_id}/cancel")
    assert system.wait_job(job_id, "cancelled")


def test_a_queued_job_says_why_and_never_starts_once_cancelled(system: System) -> None:
    # The worker of the test before counts as one that is stopping until the api has heard its good-bye.
    system.wait_nobody_online()
    job_id = system.train("sounds", **{**SMALL, "epochs": 1})
    job = system.wait_job(job_id, lambda job: bool(job["reason"]))
    assert job["reason"] == "Waits for a worker: none is online."
    assert system.post(f"/jobs/{job_id}/cancel")["state"] == "cancelled"
    system.start_worker("w1")
    after = system.train("sounds", **{**SMALL, "epochs": 1})
    system.wait_job(after, "completed")
    assert system.stop("w1") == 0
    assert system.get(f"/jobs/{job_id}")["attempt"] == 0
    assert [event["body"]["type"] for event in system.events(job_id)] == ["state", "state"]


@pytest.mark.usefixtures("worker")
def test_the_features_of_a_dataset_are_made_once(system: System) -> None:
    request = {"kind": "preprocess", "dataset": "sounds", "features": {"spectrogram": {"n_mels": 40}}}
    first = int(system.post("/jobs", request)["id"])
    system.wait_job(first, "completed")
    progress = [event["body"] for event in system.events(first, "progress")]
    assert progress[-1]["done"] == progress[-1]["total"]
    assert {each["message"] for each in progress} >= {"sound-000.wav"}
    second = int(system.post("/jobs", request)["id"])
    system.wait_job(second, "completed")
    assert not any("sound-" in event["body"]["message"] for event in system.events(second, "progress"))


def test_a_killed_worker_loses_nothing(system: System) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **{**SMALL, "epochs": 60, "checkpoint_every_s": 1})
    system.wait_event(job_id, lambda event: event["body"]["type"] == "checkpoint")
    below = descendants(system.pid("w1"))
    assert below, "a worker at work has a trainer"
    system.kill("w1")
    seconds_until_gone(below, 10.0)  # one that waits for the disk ends when that answers

    system.wait_job(job_id, "queued", timeout_s=40)
    assert "went silent" in system.get(f"/jobs/{job_id}")["reason"]
    system.start_worker("w2")
    job = system.wait_job(job_id, "completed")
    assert job["attempt"] == 2
    assert set(steps_of(system, job_id)) == set(range(1, job["progress"]["step"] + 1))
    assert_history_is_whole(system, job_id)
    assert system.stop("w2") == 0


def test_a_worker_that_is_started_anew_frees_what_its_forerunner_held(system: System) -> None:
    # A lease that does not lapse, however long the new one takes to start.
    system.start_worker("w1", SPECTRAIN_LEASE_S="120")
    job_id = system.train("sounds", **{**SMALL, "epochs": 60, "checkpoint_every_s": 1})
    first_step(system, job_id)
    system.kill("w1")
    system.start_worker("w1")
    job = system.wait_job(job_id, lambda job: "started anew" in job["reason"] or job["attempt"] > 1)
    job = system.wait_job(job_id, "completed")
    assert job["attempt"] == 2
    told = [event["body"]["reason"] for event in system.events(job_id, "state")]
    assert any("w1 was started anew" in reason for reason in told)
    assert system.stop("w1") == 0


def test_a_stopped_worker_saves_and_hands_its_job_back(system: System) -> None:
    system.start_worker("w1")
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    assert system.stop("w1") == 0, system.log("w1")
    job = system.wait_job(job_id, "queued")
    assert "Its worker was stopped. Saved step" in job["reason"]
    saved = system.events(job_id, "checkpoint")[-1]["body"]
    assert saved["reason"] == "shutdown"
    assert steps_of(system, job_id)[-1] == saved["step"]
    system.post(f"/jobs/{job_id}/cancel")


@pytest.mark.usefixtures("worker")
def test_a_trainer_that_is_killed_three_times_fails_its_job_alone(system: System) -> None:
    # Without held-out files nothing is best: a checkpoint after the first epoch would be a step forward.
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG, "validation_fraction": 0.0})
    for attempt in (1, 2, 3):
        system.wait_event(
            job_id,
            lambda event, attempt=attempt: event["attempt"] == attempt and event["body"]["type"] == "steps",
        )
        (trainer,) = trainers_of(system, "w1")
        os.kill(trainer.pid, signal.SIGKILL)
    job = system.wait_job(job_id, "failed")
    assert job["reason"].startswith("The trainer was killed by the system, most likely because memory ran out.")
    assert "again and again" in job["reason"]
    assert job["attempt"] == 3
    assert not system.events(job_id, "checkpoint")
    after = system.train("sounds", **{**SMALL, "epochs": 1})
    system.wait_job(after, "completed")


@pytest.mark.usefixtures("worker")
def test_a_killed_api_comes_back_to_a_whole_history(system: System) -> None:
    job_id = system.train("sounds", **{**SMALL, "epochs": 40})
    first_step(system, job_id)
    system.kill("api")
    system.start_api()
    job = system.wait_job(job_id, "completed")
    assert job["attempt"] == 1, "the training did not notice"
    assert steps_of(system, job_id) == list(range(1, job["progress"]["step"] + 1))
    assert_history_is_whole(system, job_id)


@pytest.mark.usefixtures("worker")
def test_a_killed_redis_costs_time_and_nothing_else(system: System, redis_server: RedisServer) -> None:
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    redis_server.kill()
    assert httpx.get(f"{system.url}/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
    before = system.get(f"/jobs/{job_id}")["progress"]["step"]
    redis_server.start()
    system.wait_job(job_id, lambda job: job["progress"]["step"] > before + 20)
    system.post(f"/jobs/{job_id}/cancel")
    job = system.wait_job(job_id, "cancelled")
    assert job["attempt"] == 1, "the training did not notice"
    assert steps_of(system, job_id) == list(range(1, job["last_checkpoint_step"] + 1))
    assert_history_is_whole(system, job_id)
    after = system.train("sounds", **{**SMALL, "epochs": 1})
    system.wait_job(after, "completed")


@pytest.mark.usefixtures("worker")
def test_a_resume_without_a_valid_checkpoint_fails_with_its_reason(system: System) -> None:
    job_id = system.train("sounds", **{**SMALL, "epochs": LONG})
    first_step(system, job_id)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    folder = system.data / "store" / "jobs" / str(job_id) / "checkpoints"
    damaged = 0
    for weights in folder.glob("*/model.safetensors"):
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 0xFF
        weights.write_bytes(content)
        damaged += 1
    assert damaged, "the fault must have happened"
    system.post(f"/jobs/{job_id}/resume")
    job = system.wait_job(job_id, "failed")
    assert "checkpoint" in job["reason"].lower()
    assert not any(event["attempt"] == 2 for event in system.events(job_id, "steps")), "it never starts over silently"


def test_two_workers_cannot_have_one_name(system: System) -> None:
    system.start_worker("w1")
    twin = subprocess.run(
        [sys.executable, "-m", "worker", "--device", "cpu", "--name", "w1"],
        cwd=ROOT,
        env={**os.environ, "SPECTRAIN_DATA": str(system.data)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert twin.returncode == 1
    assert f"Another worker (process {system.pid('w1')}) already serves w1" in twin.stderr
    assert system.stop("w1") == 0
