"""Long files: piece by piece the same features as in one piece, in memory that does not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from shared.config import FeatureConfig, Representation
from shared.events import Progress
from shared.jobs import AttemptSpec, DatasetSnapshot, PreprocessSpec
from shared.storage import FolderStorage
from tests.sounds import make_sound, store_dataset
from tests.unit.train.tools import TINY_SPECTROGRAM, Surroundings
from worker.preprocess import analyse, feature_set, run_preprocess
from worker.preprocess.feature_set import FeatureSet, features_prefix, load_feature_set, read_manifest
from worker.preprocess.make import make_features

LEVEL_TOLERANCE = 5e-5
"""log1p units, of features up to 8: the level is given to the features instead of to the samples."""

FREQUENCY_TOLERANCE = 1e-3
"""Of deviations in [-1, 1]; those of cells that hardly sound are sums of small numbers."""

FLIPPED_SHARE = 1e-3
"""Of cells so near the threshold that rounding decides whether their frequency is masked."""

MIB = 2**20


def write_long(path: Path, seconds: float, *, rate: int = 22_050) -> Path:
    """Stereo sounds one after the other, much louder in the middle, so that parts have other peaks than the whole."""
    parts = [make_sound(seed, duration_s=0.7, sample_rate=rate) for seed in range(int(seconds / 0.7) + 1)]
    levels = 0.01 + 0.8 * np.exp(-(np.linspace(-3, 3, len(parts)) ** 2))
    mono = np.concatenate([part * level for part, level in zip(parts, levels, strict=True)])[: round(seconds * rate)]
    soundfile.write(path, np.stack([mono, 0.5 * mono], axis=1), rate, subtype="FLOAT")
    return path


def make(storage: FolderStorage, dataset: DatasetSnapshot, config: FeatureConfig) -> FeatureSet:
    around = Surroundings()
    make_features(dataset, config, storage=storage, reporter=around, control=around)
    made = load_feature_set(storage, config.cache_key(dataset.version_hash))
    assert made is not None
    return made


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetSnapshot:
    """A long file between two short ones, as far as hashes decide."""
    sounds = [write_long(tmp_path / "long.wav", 13.3)]
    for seed in range(3):
        sounds.append(tmp_path / f"short-{seed}.wav")
        soundfile.write(sounds[-1], make_sound(seed), 48_000)
    return store_dataset(FolderStorage(tmp_path / "store"), sounds)


@pytest.mark.parametrize("representation", ["mel", "mel_if"])
def test_a_long_file_gives_the_features_that_it_gives_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: DatasetSnapshot, representation: Representation
):
    config = FeatureConfig(
        representation=representation, spectrogram=TINY_SPECTROGRAM, speeds=(1.0, 0.8, 1.15), pitches=(4.0,)
    )
    storage = FolderStorage(tmp_path / "store")
    whole = make(storage, dataset, config)
    storage.delete(features_prefix(config.cache_key(dataset.version_hash)))
    monkeypatch.setattr(analyse, "LONG_SAMPLES", 100_000)
    monkeypatch.setattr(feature_set, "SHARD_BYTES", 100_000)

    pieces = make(storage, dataset, config)

    assert pieces.manifest.clips == whole.manifest.clips
    assert len(pieces.manifest.shards) > 5 * len(whole.manifest.shards)
    mels = TINY_SPECTROGRAM.n_mels
    difference = (pieces.frames - whole.frames).abs()
    assert difference[:, :mels].max() < LEVEL_TOLERANCE
    assert not torch.equal(pieces.frames, whole.frames), "the long file took the way of short ones"
    if representation == "mel_if":
        assert (whole.frames[:, mels:] == 0).float().mean() > 0.1, "nothing is masked"
        assert (difference[:, mels:] > FREQUENCY_TOLERANCE).float().mean() < FLIPPED_SHARE


def test_a_long_silence_is_silent_and_its_equal_shards_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(analyse, "LONG_SAMPLES", 100_000)
    monkeypatch.setattr(feature_set, "SHARD_BYTES", 50_000)
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(300_000), 16_000)
    storage = FolderStorage(tmp_path / "store")
    config = FeatureConfig(representation="mel_if", spectrogram=TINY_SPECTROGRAM)
    made = make(storage, store_dataset(storage, [path]), config)
    assert len({shard.name for shard in made.manifest.shards}) < len(made.manifest.shards)
    assert len(made.frames) == 1 + TINY_SPECTROGRAM.frames(300_000)
    assert not made.frames.any()


def test_a_wish_to_stop_is_met_within_a_long_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: DatasetSnapshot
):
    class StopsWithin(Surroundings):
        def wish(self):  # noqa: ANN202 - as in Control
            return "pause" if self.beats >= 8 else "none"

    monkeypatch.setattr(analyse, "LONG_SAMPLES", 1_000)
    monkeypatch.setattr(feature_set, "SHARD_BYTES", 50_000)
    storage, around = FolderStorage(tmp_path / "store"), StopsWithin()
    config = FeatureConfig(spectrogram=TINY_SPECTROGRAM)
    attempt = AttemptSpec(job_id=1, attempt=1, spec=PreprocessSpec(dataset=dataset, features=config))
    result = run_preprocess(attempt, storage=storage, device="cpu", reporter=around, control=around)
    assert result.outcome == "paused"
    assert max(event.done for event in around.of(Progress)) < len(dataset.clips)
    assert storage.names(features_prefix(config.cache_key(dataset.version_hash))) == []
    assert read_manifest(storage, config.cache_key(dataset.version_hash)) is None


MEASURE = """
import json, resource, sys
from pathlib import Path
from shared.config import FeatureConfig, SpectrogramConfig
from shared.storage import FolderStorage
from tests.benchmarks.surroundings import Nobody
from tests.sounds import store_dataset
from worker.preprocess.make import make_features
from worker.preprocess.feature_set import load_feature_set
import torch
torch.set_num_threads(1)
storage = FolderStorage(Path(sys.argv[1]))
config = FeatureConfig(spectrogram=SpectrogramConfig(sample_rate=16_000, n_fft=1024, hop_length=512, n_mels=32))
peaks = []
for path in sys.argv[2:]:
    dataset = store_dataset(storage, [Path(path)])
    nobody = Nobody()
    manifest = make_features(dataset, config, storage=storage, reporter=nobody, control=nobody)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps({"peaks": peaks, "rows": manifest.rows}))
"""


def test_half_an_hour_takes_no_more_memory_than_minutes_do(tmp_path: Path):
    paths: list[Path] = []
    for minutes in (10, 30):
        paths.append(tmp_path / f"{minutes}.flac")
        block = np.random.default_rng(minutes).integers(-90, 90, size=8_000 * 60).astype(np.int16)
        with soundfile.SoundFile(paths[-1], "w", 8_000, 1, "PCM_16") as file:
            for minute in range(minutes):
                file.write(np.roll(block, minute))
    arguments = [sys.executable, "-c", MEASURE, str(tmp_path / "store"), *map(str, paths)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    measured = json.loads(ran.stdout)
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (measured["peaks"][1] - measured["peaks"][0]) * unit
    assert measured["rows"] == 1_800 * 16_000 // 512 + 1
    # 20 more minutes are 73 MiB of samples at 16 kHz; store_dataset, which is the test's own, holds 10 MiB more bytes.
    assert grown < 40 * MIB
