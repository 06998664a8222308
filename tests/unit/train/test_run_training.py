"""Whole attempts in miniature: their events, wishes, resumes and failures."""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
import torch
from typing_extensions import override

from shared.config import Representation
from shared.errors import StorageAwayError
from shared.events import CheckpointSaved, EpochMetrics, LogLine, PreviewMade, StepMetrics, Warned
from shared.vae.scaling import FeatureScaling
from tests.unit.train.tools import Bench, Surroundings, tiny_config
from worker.attempt import Wish
from worker.preprocess.feature_set import features_prefix
from worker.train import learner as learner_module
from worker.train.checkpoint import CheckpointStore
from worker.train.graph import RecordedStep
from worker.train.learner import Learner
from worker.train.plan import ExecutionPlan
from worker.train.preview import PreviewSource, compute_features

QUIETEST = 1e-3
"""A preview whose peak is below this would be silence."""


def test_a_training_runs_from_sounds_to_its_final_checkpoint(bench: Bench):
    around = Surroundings()
    config = tiny_config(epochs=2)

    result = bench.train(bench.attempt(config), around)

    steps = [step for event in around.of(StepMetrics) for step in event.step]
    assert result.outcome == "completed"
    assert steps == list(range(1, result.step + 1))
    assert [event.epoch for event in around.of(EpochMetrics)] == [1, 2]
    assert around.of(CheckpointSaved)[-1].reason == "final"
    assert around.beats >= result.step
    assert all(event.val_reconstruction is not None for event in around.of(EpochMetrics))


def test_one_file_trains_without_validation_and_its_newest_checkpoint_is_the_best(bench: Bench):
    alone = bench.dataset.model_copy(update={"clips": bench.dataset.clips[:1], "version_hash": "1" * 64})
    bench.dataset = alone
    around = Surroundings()

    result = bench.train(bench.attempt(tiny_config(epochs=1)), around)

    assert result.outcome == "completed"
    assert around.of(EpochMetrics)[0].overfitting_gap is None
    assert around.of(CheckpointSaved)[-1].best


@pytest.mark.parametrize(
    ("wish", "outcome"), [("cancel", "cancelled"), ("pause", "paused"), ("shutdown", "handed_back")]
)
def test_a_wish_is_met_at_the_next_step_with_a_durable_checkpoint(
    bench: Bench, wish: Literal["cancel", "pause", "shutdown"], outcome: str
):
    around = Surroundings(stop_at=5, wish=wish)

    result = bench.train(bench.attempt(tiny_config()), around)

    saved = around.of(CheckpointSaved)[-1]
    assert (result.outcome, result.step) == (outcome, 5)
    assert (saved.step, saved.reason, saved.name) == (5, wish, "1-5")
    assert CheckpointStore(bench.storage, 1).load("1-5").state["position"]["index"] == 5


def test_a_wish_during_features_is_met_at_the_next_file_and_keeps_nothing(bench: Bench):
    around = Surroundings(stop_at=0)

    result = bench.train(bench.attempt(tiny_config()), around)

    assert (result.outcome, result.step) == ("cancelled", 0)
    key = tiny_config().features().cache_key(bench.dataset.version_hash)
    assert bench.storage.names(features_prefix(key)) == []


def test_a_store_that_is_away_at_the_start_is_no_fault_of_the_training(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def away(_prefix: str) -> list[str]:
        raise StorageAwayError("The artifact store is away.")

    monkeypatch.setattr(bench.storage, "names", away)
    with pytest.raises(StorageAwayError):
        bench.train(bench.attempt(tiny_config()), Surroundings())


def test_a_store_that_goes_away_after_a_save_costs_no_step(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    names, around = bench.storage.names, Surroundings()
    around.saves_at = {3}

    def sometimes(prefix: str) -> list[str]:
        if around.beats and bench.storage.exists("jobs/1/checkpoints/1-3/manifest.json"):
            raise StorageAwayError("The artifact store is away.")
        return names(prefix)

    monkeypatch.setattr(bench.storage, "names", sometimes)
    result = bench.train(bench.attempt(tiny_config(epochs=1)), around)

    assert result.outcome == "completed"
    assert [saved.name for saved in around.of(CheckpointSaved)] == ["1-3", f"1-{result.step}"]
    assert around.of(CheckpointSaved)[-1].kept == [f"1-{result.step}", "1-3"]
    assert any("could not be removed" in warned.message for warned in around.of(Warned))


def test_save_now_and_preview_now_happen_at_their_step(bench: Bench):
    around = Surroundings()
    around.saves_at, around.previews_at = {3}, {4}

    bench.train(bench.attempt(tiny_config(epochs=1)), around)

    assert ("1-3", "save") in [(saved.name, saved.reason) for saved in around.of(CheckpointSaved)]
    assert [preview.name for preview in around.of(PreviewMade)] == ["1-4"]


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_previews_are_sounds_and_do_not_disturb_the_training(bench: Bench, representation: Representation):
    plain, heard = Surroundings(), Surroundings()
    config = tiny_config(representation, epochs=1, preview_every=0, preview_clips=2, refine_steps=3)
    bench.train(bench.attempt(config, job_id=1), plain)
    heard.previews_at = {2}
    bench.train(bench.attempt(config.model_copy(update={"preview_every": 1}), job_id=2), heard)

    losses = [[event.loss for event in around.of(StepMetrics)] for around in (plain, heard)]
    assert losses[0] == losses[1]
    preview = heard.of(PreviewMade)[-1]
    assert [clip.kind for clip in preview.clips] == ["reconstruction"] * 2 + ["sample"] * 2
    for clip in preview.clips:
        for name in filter(None, (clip.audio, clip.original)):
            content = io.BytesIO(bench.storage.read(f"jobs/2/previews/{preview.name}/{name}"))
            info = soundfile.info(content)
            content.seek(0)
            assert (info.format, info.subtype, info.samplerate, info.frames) == ("WAV", "PCM_16", 16_000, 4_000)
            sound: np.ndarray = soundfile.read(content)[0]
            assert QUIETEST < float(np.abs(sound).max()) <= 1.0


def test_what_is_heard_of_a_clip_is_refined_and_a_random_sound_is_not():
    learner = Learner(tiny_config(dropout=0.0, refine_steps=10), ExecutionPlan(), torch.device("cpu"))
    batch, latents = torch.randn(2, 1, 32, 32), torch.randn(2, 4)
    source = PreviewSource(clips=(), starts=(), latents=latents, batch=batch)
    scaling = FeatureScaling(mean=(1.0,), scale=(2.0,))

    features = compute_features(learner, source, scaling, go_on=lambda: True)

    assert features is not None
    with torch.no_grad():
        plain, _, _ = learner.model.eval()(batch)
        samples = learner.model.decode(latents)
    heard = scaling.apply(features)
    assert ((heard[:2] - batch).square().mean(dim=(1, 2, 3)) < (plain - batch).square().mean(dim=(1, 2, 3))).all()
    torch.testing.assert_close(heard[2:], samples)
    assert compute_features(learner, source, scaling, go_on=lambda: False) is None


class WishesAfterAnEpoch(Surroundings):
    """Wishes to stop as soon as an epoch was reported, just before its preview."""

    @override
    def wish(self) -> Wish:
        return "pause" if self.of(EpochMetrics) else "none"


@pytest.mark.parametrize(("epochs", "outcome"), [(2, "paused"), (1, "completed")])
def test_a_stop_does_not_wait_for_a_preview(bench: Bench, epochs: int, outcome: str):
    around = WishesAfterAnEpoch()
    config = tiny_config(epochs=epochs, preview_every=1, refine_steps=200)

    result = bench.train(bench.attempt(config), around)

    assert result.outcome == outcome
    assert len(around.of(EpochMetrics)) == 1
    assert not around.of(PreviewMade)
    assert around.of(CheckpointSaved)[-1].step == result.step


def test_a_checkpoint_keeps_the_average_as_the_model_and_the_newest_weights_beside_it(bench: Bench):
    around = Surroundings(stop_at=10)

    bench.train(bench.attempt(tiny_config(average_steps=10)), around)

    loaded = CheckpointStore(bench.storage, 1).load("1-10")
    newest = loaded.state["newest"]
    assert newest.keys() == loaded.model.keys()
    assert not torch.equal(newest["encoder.to_mu.weight"], loaded.model["encoder.to_mu.weight"])
    plain = Surroundings(stop_at=10)
    bench.train(bench.attempt(tiny_config(), job_id=2), plain)
    without = CheckpointStore(bench.storage, 2).load("1-10")
    assert without.state["newest"] is None
    assert all(torch.equal(value, newest[name]) for name, value in without.model.items())


def test_a_resume_passes_over_a_damaged_checkpoint_and_names_it(bench: Bench):
    first, second = Surroundings(stop_at=6), Surroundings()
    first.saves_at = {4}
    bench.train(bench.attempt(tiny_config(epochs=1)), first)
    bench.storage.write("jobs/1/checkpoints/1-6/state.pt", b"nothing")

    result = bench.train(bench.attempt(tiny_config(epochs=1), attempt=2, resume=True), second)

    assert result.outcome == "completed"
    assert second.of(StepMetrics)[0].step[0] == 5
    assert "1-6" in second.of(Warned)[0].message
    assert any("1-4" in line.message for line in second.of(LogLine))


def test_a_resume_without_any_valid_checkpoint_fails_instead_of_starting_over(bench: Bench):
    bench.train(bench.attempt(tiny_config()), Surroundings(stop_at=2))
    bench.storage.write("jobs/1/checkpoints/1-2/model.safetensors", b"nothing")

    result = bench.train(bench.attempt(tiny_config(), attempt=2, resume=True), Surroundings())

    assert result.outcome == "failed"
    assert "1-2" in result.reason


def test_a_chosen_checkpoint_is_used_and_a_damaged_or_lost_one_fails(bench: Bench):
    first = Surroundings(stop_at=6)
    first.saves_at = {3}
    bench.train(bench.attempt(tiny_config()), first)
    chosen = Surroundings(stop_at=4)

    result = bench.train(bench.attempt(tiny_config(), attempt=2, resume=True, checkpoint="1-3"), chosen)
    assert (result.outcome, chosen.of(StepMetrics)[0].step) == ("cancelled", [4])

    bench.storage.write("jobs/1/checkpoints/1-3/state.pt", b"nothing")
    for name in ("1-3", "1-99"):
        result = bench.train(bench.attempt(tiny_config(), attempt=3, resume=True, checkpoint=name), Surroundings())
        assert result.outcome == "failed"
        assert name in result.reason


def test_a_resume_with_another_configuration_is_refused_naming_the_difference(bench: Bench):
    bench.train(bench.attempt(tiny_config()), Surroundings(stop_at=2))
    result = bench.train(bench.attempt(tiny_config(weight_decay=0.5), attempt=2, resume=True), Surroundings())
    assert result.outcome == "failed"
    assert "weight_decay" in result.reason


def test_losses_that_stay_not_a_number_fail_the_training(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    real_step = Learner.step

    def poisoned(learner: Learner, batch: torch.Tensor, *, learning_rate: float, kl_weight: float) -> torch.Tensor:
        return real_step(learner, batch * math.nan, learning_rate=learning_rate, kl_weight=kl_weight)

    monkeypatch.setattr(Learner, "step", poisoned)
    around = Surroundings()

    result = bench.train(bench.attempt(tiny_config(epochs=20)), around)

    assert result.outcome == "failed"
    assert "not a number" in result.reason
    assert "not_a_number" in [warning.code for warning in around.of(Warned)]


def test_steps_that_cannot_be_recorded_are_told_of_once(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    class Unrecordable(RecordedStep):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.failure = "operation not permitted"

    monkeypatch.setattr(learner_module, "RecordedStep", Unrecordable)
    bench.plan, around = ExecutionPlan(graph=True), Surroundings(stop_at=3)

    bench.train(bench.attempt(tiny_config()), around)

    told = [line.message for line in around.of(LogLine) if "CUDA graph:" in line.message]
    assert told == ["Steps are not recorded as a CUDA graph: operation not permitted"]


def test_damaged_features_are_made_again(bench: Bench):
    config = tiny_config(epochs=1)
    bench.train(bench.attempt(config, job_id=1), Surroundings())
    prefix = features_prefix(config.features().cache_key(bench.dataset.version_hash))
    shard = next(name for name in bench.storage.names(prefix) if name.endswith(".safetensors"))
    content = bytearray(bench.storage.read(f"{prefix}/{shard}"))
    content[-1] ^= 1
    bench.storage.write(f"{prefix}/{shard}", bytes(content))
    around = Surroundings()

    result = bench.train(bench.attempt(config, job_id=2), around)

    assert result.outcome == "completed"
    assert "data" in [warning.code for warning in around.of(Warned)]
