"""Whether any worker could run a job, and what a training will take, both told before it is submitted."""

from __future__ import annotations

import pytest

from api.queue.capable import what_is_lacking
from api.queue.estimate import EarlierTraining, memory_bytes, seconds, work_of
from api.queue.fitting import Needs
from api.views import WorkerView
from shared.config import TrainConfig
from shared.events import DeviceStatus
from shared.jobs import Clip
from shared.placement import Placement
from shared.planning import Plan
from shared.version import VERSION

GIB = 2**30


def worker(
    name: str,
    device: str = "cpu",
    *,
    labels: tuple[str, ...] = (),
    drained: bool = False,
    state: str = "idle",
    version: str = VERSION,
) -> WorkerView:
    return WorkerView(
        name=name,
        host="here",
        state=state,
        device=DeviceStatus(name=device, memory_total_bytes=8 * GIB),
        job_id=None,
        heartbeat_age_s=0.0,
        started_at=0.0,
        versions={"spectrain": version},
        system="Linux",
        labels=list(labels),
        drained=drained,
    )


@pytest.mark.parametrize(
    ("online", "device", "placement", "sentence"),
    [
        ([], "auto", {}, "The job will wait for a worker: none is online."),
        ([worker("a")], "cuda", {}, "The job will wait for a worker with cuda: only cpu is online."),
        ([worker("a")], "auto", {"worker": "b"}, "The job will wait for the worker b, which was never seen."),
        ([worker("b", state="offline")], "auto", {"worker": "b"}, "for the worker b, which is offline."),
        ([worker("a", state="stopping")], "auto", {}, "The job will wait for a worker: none is online."),
        ([worker("a", labels=("fast",))], "cpu", {"labels": ("fast", "big")}, "online has the label big. The job will"),
        ([worker("a", drained=True)], "auto", {}, "Worker a is drained. The job will wait for one."),
        ([worker("a", version="0.0.1")], "auto", {}, "Worker a runs Spectrain 0.0.1: update it to"),
        ([worker("a")], "auto", {"min_free_memory_bytes": 9 * GIB}, "online has 9.7 GB of memory: 8.6 GB is the most."),
    ],
)
def test_what_no_worker_has_is_named(
    online: list[WorkerView], device: str, placement: dict[str, object], sentence: str
) -> None:
    needs = Needs(device=device, placement=Placement.model_validate(placement))
    assert sentence in what_is_lacking(online, needs)


def test_one_that_can_is_enough() -> None:
    placement = Placement(labels=("fast",), min_free_memory_bytes=GIB)
    online = [worker("a"), worker("b", "cuda:0", labels=("fast", "big"))]
    assert what_is_lacking(online, Needs(device="cuda", placement=placement)) == ""


def plan(batch_size: int, total_steps: int = 1000) -> Plan:
    return Plan(held_out=1, chunks=100, batch_size=batch_size, steps_per_epoch=100, total_steps=total_steps)


def test_time_follows_an_earlier_training_by_the_work_of_a_step() -> None:
    train = TrainConfig()
    earlier = EarlierTraining(work=work_of(train, 16), steps_per_s=20.0)
    assert seconds(train, plan(16), earlier) == pytest.approx(50)
    assert seconds(train, plan(32), earlier) == pytest.approx(100)
    assert seconds(train, plan(16), None) is None


def test_memory_grows_with_the_batch_the_model_and_the_sounds() -> None:
    few, many = [a_clip(seconds=10)], [a_clip(seconds=3600)]
    small, large = memory_bytes(TrainConfig(), few, plan(4)), memory_bytes(TrainConfig(), few, plan(64))
    assert GIB // 3 < small < large
    assert memory_bytes(TrainConfig(representation="mel_if", latent_dim=128), few, plan(4)) > small + 200_000_000
    twice = TrainConfig(speeds=(1.0, 0.5))
    frames = 3600 * 48_000 / 512
    assert memory_bytes(twice, many, plan(4)) - small == pytest.approx(3 * frames * 128 * 4, rel=0.01)


def test_components_that_a_training_starts_from_count_where_they_take_more_than_a_step() -> None:
    clips = [a_clip(seconds=10)]
    random, principal = TrainConfig(), TrainConfig(first_weights="principal")
    assert memory_bytes(principal, clips, plan(4)) > memory_bytes(random, clips, plan(4)) + 200_000_000
    assert memory_bytes(principal, clips, plan(4), starts_anew=False) == memory_bytes(random, clips, plan(4))
    assert memory_bytes(principal, clips, plan(256)) == memory_bytes(random, clips, plan(256))


def test_long_examples_are_fitted_in_smaller_numbers() -> None:
    clips = [a_clip(seconds=60)]
    short, long = (TrainConfig(first_weights="principal", chunk_s=chunk_s) for chunk_s in (1.0, 30.0))
    fit = [
        memory_bytes(each, clips, plan(1)) - memory_bytes(each, clips, plan(1), starts_anew=False)
        for each in (short, long)
    ]
    assert fit[1] < 1.2 * fit[0]


def a_clip(*, seconds: int) -> Clip:
    return Clip(
        name="a.wav",
        sha256="0" * 64,
        size_bytes=1,
        format="WAV PCM_16",
        sample_rate=48_000,
        channels=1,
        num_samples=seconds * 48_000,
    )
