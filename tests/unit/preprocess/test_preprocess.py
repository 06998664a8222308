"""Sounds to cached features: whole or not there, reused, and equal whatever else happens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shared.audio.decode import decode_mono
from shared.audio.pitch import shift_pitch
from shared.audio.representation import make_representation
from shared.config import FeatureConfig
from shared.events import LogLine, Progress
from shared.jobs import AttemptSpec, PreprocessSpec
from shared.planning import feature_bytes
from tests.unit.train.tools import TINY_SPECTROGRAM, Bench, Surroundings
from worker.attempt import AttemptResult
from worker.preprocess import run_preprocess
from worker.preprocess.feature_set import features_prefix, load_feature_set

CONFIG = FeatureConfig(spectrogram=TINY_SPECTROGRAM, speeds=(1.0, 0.8), pitches=(-3.0,))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three sounds and a store of their own."""
    return Bench(tmp_path, files=3)


def preprocess(bench: Bench, around: Surroundings, config: FeatureConfig = CONFIG) -> AttemptResult:
    """One attempt."""
    attempt = AttemptSpec(job_id=1, attempt=1, spec=PreprocessSpec(dataset=bench.dataset, features=config))
    return run_preprocess(attempt, storage=bench.storage, device="cpu", reporter=around, control=around)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_features_of_every_clip_speed_and_pitch_are_found_again(bench: Bench, representation: str):
    config = FeatureConfig.model_validate({**CONFIG.model_dump(), "representation": representation})
    around = Surroundings()

    result = preprocess(bench, around, config)

    loaded = load_feature_set(bench.storage, config.cache_key(bench.dataset.version_hash))
    assert result.outcome == "completed"
    assert loaded is not None
    assert not loaded.frames[0].any()
    transform = make_representation(config)
    row = 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for clip in loaded.manifest.clips:
        path = bench.storage.file(f"clips/{clip.sha256}")
        waveforms = [decode_mono(path, 16_000, speed=speed) for speed in config.speeds]
        waveforms += [shift_pitch(waveforms[0], 16_000, semitones) for semitones in config.pitches]
        for waveform, frames in zip(waveforms, clip.frames, strict=True):
            expected = transform.analyse(torch.from_numpy(waveform)[None, None])[0]
            kept = loaded.frames[row : row + frames].unflatten(1, (transform.channels, 32)).permute(1, 2, 0)
            assert torch.equal(kept, expected)
            row += frames
    torch.set_num_threads(threads)
    assert row == len(loaded.frames)
    assert feature_bytes(bench.dataset.clips, config) == pytest.approx(loaded.manifest.size_bytes, rel=0.02)
    progress = [(event.done, event.total) for event in around.of(Progress)]
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_the_second_run_reuses_the_first(bench: Bench):
    preprocess(bench, Surroundings())
    again = Surroundings()
    assert preprocess(bench, again).outcome == "completed"
    assert again.of(Progress) == []
    assert "reused" in again.of(LogLine)[0].message


def test_a_wish_to_stop_keeps_nothing(bench: Bench):
    result = preprocess(bench, Surroundings(stop_at=0, wish="pause"))
    assert result.outcome == "paused"
    assert bench.storage.names(features_prefix(CONFIG.cache_key(bench.dataset.version_hash))) == []


def test_a_file_that_cannot_be_decoded_fails_by_the_name_that_the_person_gave_it(bench: Bench):
    broken = bench.dataset.clips[1]
    bench.storage.write(f"clips/{broken.sha256}", b"not a sound")
    result = preprocess(bench, Surroundings())
    assert result.outcome == "failed"
    assert broken.name in result.reason
    assert broken.sha256 not in result.reason


def test_a_clip_that_the_store_lost_is_named(bench: Bench):
    lost = bench.dataset.clips[2]
    bench.storage.delete(f"clips/{lost.sha256}")
    result = preprocess(bench, Surroundings())
    assert (result.outcome, lost.name in result.reason) == ("failed", True)


def test_one_clip_under_two_names_is_kept_once(bench: Bench):
    twin = bench.dataset.clips[0].model_copy(update={"name": "twin.wav"})
    bench.dataset = bench.dataset.model_copy(update={"clips": (*bench.dataset.clips, twin)})
    preprocess(bench, Surroundings())
    loaded = load_feature_set(bench.storage, CONFIG.cache_key(bench.dataset.version_hash))
    assert loaded is not None
    assert len(loaded.manifest.clips) == 3


def test_a_damaged_set_does_not_load(bench: Bench):
    preprocess(bench, Surroundings())
    key = CONFIG.cache_key(bench.dataset.version_hash)
    shard = next(name for name in bench.storage.names(features_prefix(key)) if name != "manifest.json")
    bench.storage.write(f"{features_prefix(key)}/{shard}", b"damaged")
    assert load_feature_set(bench.storage, key) is None
