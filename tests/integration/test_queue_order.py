"""The queue's order through real processes: what starts first, what waits for what, what an api's death costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sounds import write_sounds
from tests.system import JobJson, System

PREPROCESS: dict[str, Any] = {"kind": "preprocess", "dataset": "sounds"}
TRAIN: dict[str, Any] = {
    "kind": "train",
    "dataset": "sounds",
    "changes": {
        "chunk_s": 0.15,
        "spectrogram": {"n_fft": 1024, "n_mels": 32},
        "latent_dim": 8,
        "batch_size": 4,
        "expansion": 1,
        "epochs": 1,
        "preview_every": 0,
        "speeds": [1.0],
    },
}


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("order")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(folder / "sounds", 6))
        yield system


def submit(system: System, **body: Any) -> int:
    return int(system.post("/jobs", PREPROCESS | body)["id"])


def waiting(system: System) -> list[JobJson]:
    return system.get("/jobs?state=queued,held")["jobs"]


def test_jobs_start_in_the_order_that_a_person_gave_them(system: System) -> None:
    system.post("/queue/pause")
    one, two, three, held = (submit(system) for _ in range(4))
    low, high = submit(system, priority="low"), submit(system, priority="high")
    system.post(f"/jobs/{held}/hold")
    system.post(f"/jobs/{three}/move", {"before": one})
    system.post(f"/jobs/{two}/next")
    system.post(f"/jobs/{low}/edit", {"priority": "normal"})
    expected = [two, high, three, one, low]
    assert [job["id"] for job in waiting(system) if job["state"] == "queued"] == expected
    system.start_worker("w1")
    system.post("/queue/resume")
    jobs = [system.wait_job(job_id, "completed") for job_id in expected]
    started = [job["started_at"] for job in jobs]
    assert started == sorted(started)
    assert [job["id"] for job in waiting(system)] == [held], "what is held starts for nobody"
    system.post(f"/jobs/{held}/release")
    system.wait_job(held, "completed")


def test_a_training_waits_for_what_it_comes_after(system: System) -> None:
    features = submit(system, held=True)
    training = int(system.post("/jobs", TRAIN | {"after": [features]})["id"])
    system.start_worker("w1")
    other = submit(system)
    system.wait_job(other, "completed")
    assert system.get(f"/jobs/{training}")["state"] == "queued", "it does not start while a later job does"
    system.post(f"/jobs/{features}/cancel")
    told = system.wait_job(training, lambda job: str(features) in job["reason"] and "cancelled" in job["reason"])
    assert told["state"] == "queued"
    system.post(f"/jobs/{features}/retry")
    job = system.wait_job(training, "completed")
    before = system.get(f"/jobs/{features}")
    assert before["state"] == "completed"
    assert job["started_at"] >= before["ended_at"]


def test_a_killed_api_loses_nothing_of_the_queue(system: System) -> None:
    system.post("/queue/pause")
    first = submit(system)
    requests = [PREPROCESS | {"priority": "low", "after": [first]}, PREPROCESS | {"held": True}, PREPROCESS]
    last_of_batch = system.post("/jobs/batch", {"jobs": requests})["jobs"][-1]
    system.post(f"/jobs/{last_of_batch}/next")
    before = [_kept(job) for job in waiting(system)]
    system.kill("api")
    system.start_api()
    assert [_kept(job) for job in waiting(system)] == before
    assert system.get("/queue")["paused"], "it stays paused"
    system.start_worker("w1")
    system.post("/queue/resume")
    order = [job["id"] for job in before if job["state"] == "queued"]
    assert order[0] == last_of_batch
    started = [system.wait_job(job_id, "completed")["started_at"] for job_id in order]
    assert started == sorted(started)


def _kept(job: JobJson) -> JobJson:
    """What of a waiting job nobody may lose; its reason is told anew."""
    return {name: job[name] for name in job.keys() - {"reason", "last_event"}}
