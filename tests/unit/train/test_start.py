"""Trainings that start from the weights of another job."""

from __future__ import annotations

import hashlib

import pytest
import torch

from shared.config import TrainConfig
from shared.events import LogLine, StepMetrics
from shared.jobs import StartPoint, start_weights_key
from tests.sounds import store_dataset, write_sounds
from tests.unit.train.tools import Bench, Surroundings, tiny_config
from worker.train.checkpoint import MODEL_FILE, CheckpointStore, decode_model


def keep_weights(bench: Bench, job_id: int) -> StartPoint:
    """What submission does: the newest weights of `job_id` under their hash."""
    name = CheckpointStore(bench.storage, job_id).names()[0]
    content = bench.storage.read(f"jobs/{job_id}/checkpoints/{name}/{MODEL_FILE}")
    sha256 = hashlib.sha256(content).hexdigest()
    bench.storage.write(start_weights_key(sha256), content)
    return StartPoint(job_id=job_id, job_name="sounds mel", checkpoint=name, epoch=2, step=250, sha256=sha256)


@pytest.fixture
def trained(bench: Bench) -> tuple[Bench, StartPoint]:
    """A short training, and where another one can start from."""
    bench.train(bench.attempt(tiny_config(epochs=1)), Surroundings())
    start = keep_weights(bench, 1)
    bench.storage.delete("jobs/1")
    return bench, start


def started(bench: Bench, start: StartPoint, config: TrainConfig, stop_at: int = 1) -> tuple[Surroundings, str]:
    """The first steps of job 2, and how they ended."""
    around = Surroundings(stop_at=stop_at)
    result = bench.train(bench.attempt(config, job_id=2, start=start), around)
    return around, f"{result.outcome}: {result.reason}"


def test_weights_statistics_and_scaling_are_taken_over_and_the_optimizer_is_fresh(trained: tuple[Bench, StartPoint]):
    bench, start = trained
    others = write_sounds(bench.folder / "others", 4, first_seed=100)
    bench.dataset = store_dataset(bench.storage, others, name_of=lambda path: path.name)
    config = tiny_config(learning_rate=1e-9, weight_decay=0.0, dropout=0.3, seed=5, epochs=7, expansion=3)

    around, ended = started(bench, start, config)

    loaded = CheckpointStore(bench.storage, 2).load("1-1")
    before, description = decode_model(bench.storage.read(start_weights_key(start.sha256)))
    assert ended.startswith("cancelled")
    assert loaded.description.scaling == description.scaling
    assert {name: value.shape for name, value in loaded.model.items()} == {
        name: value.shape for name, value in before.items()
    }
    for name, value in before.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(loaded.model[name], value, atol=1e-7, rtol=0)
    counts = [name for name in before if "num_batches" in name]
    assert all(int(loaded.model[name]) == int(before[name]) + 1 for name in counts)
    steps = {float(state["step"]) for state in loaded.state["optimizer"]["state"].values()}
    assert steps == {1.0}
    assert loaded.state["position"]["step"] == 1
    messages = [line.message for line in around.of(LogLine)]
    assert f"Starts from job 1 (sounds mel), checkpoint {start.checkpoint}, step 250." in messages


def test_what_was_learned_is_there_from_the_first_step_and_a_resume_does_not_start_again(
    trained: tuple[Bench, StartPoint],
):
    bench, start = trained
    fresh = Surroundings(stop_at=1)
    bench.train(bench.attempt(tiny_config(), job_id=3), fresh)

    around, _ = started(bench, start, tiny_config(), stop_at=2)
    resumed = Surroundings(stop_at=3)
    bench.train(bench.attempt(tiny_config(), job_id=2, attempt=2, start=start, resume=True), resumed)

    first, new = (each.of(StepMetrics)[0].reconstruction[0] for each in (around, fresh))
    assert first is not None
    assert new is not None
    assert first < new
    assert resumed.of(StepMetrics)[0].step == [3]
    assert not any("Starts from" in line.message for line in resumed.of(LogLine))


@pytest.mark.parametrize(
    ("config", "difference"),
    [
        (tiny_config("mel_if"), "representation mel"),
        (tiny_config(latent_dim=5), "latent_dim 4"),
        (tiny_config(objective="documented"), "linear"),
    ],
)
def test_weights_of_another_shape_are_refused_naming_the_difference(
    trained: tuple[Bench, StartPoint], config: TrainConfig, difference: str
):
    bench, start = trained
    _, ended = started(bench, start, config)
    assert ended.startswith("failed: This training cannot start from checkpoint")
    assert difference in ended


def test_weights_that_were_changed_or_are_gone_fail_the_training(trained: tuple[Bench, StartPoint]):
    bench, start = trained
    key = start_weights_key(start.sha256)
    content = bytearray(bench.storage.read(key))
    content[-1] ^= 1
    bench.storage.write(key, bytes(content))
    assert "were changed" in started(bench, start, tiny_config())[1]
    bench.storage.delete(key)
    assert "not in the artifact store any more" in started(bench, start, tiny_config())[1]


def test_a_training_starts_from_the_principal_components_of_its_examples(bench: Bench):
    """A first step of theirs has less error than random weights reach in an epoch, and twice gives the same bits."""
    config = tiny_config(dropout=0.0, latent_dim=16, first_weights="principal")
    components, again, random = Surroundings(stop_at=1), Surroundings(stop_at=1), Surroundings(stop_at=20)
    for job_id, (around, changes) in enumerate(
        [(components, {}), (again, {}), (random, {"first_weights": "random"})], start=1
    ):
        bench.train(bench.attempt(config.model_copy(update=changes), job_id=job_id), around)

    lines = [line.message for line in components.of(LogLine)]
    assert "Starts from 16 principal components of its examples." in lines
    first, same = (around.of(StepMetrics)[0].model_copy(update={"step_time_s": []}) for around in (components, again))
    assert first == same
    errors = [error or 0.0 for block in random.of(StepMetrics) for error in block.reconstruction]
    assert len(errors) == 20
    assert min(errors) > (first.reconstruction[0] or 0.0) > 0
    loaded = [CheckpointStore(bench.storage, job_id).load("1-1").model for job_id in (1, 2)]
    assert all(torch.equal(value, loaded[1][name]) for name, value in loaded[0].items())


def test_weights_of_another_job_come_before_components(trained: tuple[Bench, StartPoint]):
    bench, start = trained

    around, _ = started(bench, start, tiny_config(first_weights="principal"))

    lines = " ".join(line.message for line in around.of(LogLine))
    assert "Starts from job 1" in lines
    assert "principal" not in lines
