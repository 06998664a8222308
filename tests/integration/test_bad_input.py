"""Sounds as they come: each either trains to a checkpoint or is refused with a sentence that says what to do.

The way of every file here is that of an upload: the probe's own process, the artifact store, features, training.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from api.datasets.probe import AudioProbe, ProbedSound
from shared.config import Representation
from shared.errors import AudioError
from shared.events import CheckpointSaved, EpochMetrics, PreviewMade, Progress, StepMetrics
from shared.jobs import Clip, DatasetSnapshot
from shared.planning import plan_training
from tests.sounds import make_sound
from tests.unit.train.tools import Bench, Surroundings, one_thread_and_no_delay, tiny_config
from worker.attempt import AttemptResult
from worker.preprocess.feature_set import load_feature_set

MOST_EVENTS = 250
"""Of features for any number of files."""


def silence(seed: int) -> tuple[np.ndarray, int]:
    return np.zeros(20_000 + seed, np.float32), 48_000


def constant(seed: int) -> tuple[np.ndarray, int]:
    return np.full(20_000, 0.1 * (1 + seed), np.float32), 48_000


def clipped(seed: int) -> tuple[np.ndarray, int]:
    return np.clip(40 * make_sound(seed), -1, 1), 48_000


def far_above_full_scale(seed: int) -> tuple[np.ndarray, int]:
    return 1e30 * make_sound(seed), 48_000


def one_click(seed: int) -> tuple[np.ndarray, int]:
    click = np.zeros(12_000 + seed, np.float32)
    click[4_000] = 1.0
    return click, 48_000


def telephone(seed: int) -> tuple[np.ndarray, int]:
    return make_sound(seed, sample_rate=8_000), 8_000


def studio(seed: int) -> tuple[np.ndarray, int]:
    channels = [make_sound(8 * seed + channel, sample_rate=192_000, duration_s=0.3) for channel in range(8)]
    return np.stack(channels, axis=1), 192_000


def tenth_of_a_second(seed: int) -> tuple[np.ndarray, int]:
    return make_sound(seed, duration_s=0.1), 48_000


def ordinary(seed: int) -> tuple[np.ndarray, int]:
    return make_sound(seed), 48_000


Kind = Callable[[int], tuple[np.ndarray, int]]
KINDS: dict[str, tuple[Kind, ...]] = {
    "silence": (silence,) * 5,
    "constant": (constant,) * 5,
    "clipped": (clipped,) * 5,
    "far above full scale": (far_above_full_scale,) * 5,
    "one click": (one_click,) * 5,
    "8 kHz mono": (telephone,) * 5,
    "192 kHz, 8 channels": (studio,) * 5,
    "one file of 0.1 s": (tenth_of_a_second,),
    "one file": (ordinary,),
    "one silent file": (silence,),
    "one of each": (silence, constant, clipped, one_click, telephone, studio, tenth_of_a_second, ordinary),
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The work is small: threads would only wait for each other."""
    with one_thread_and_no_delay(monkeypatch):
        yield


@pytest.fixture(scope="module")
def probe() -> Iterator[AudioProbe]:
    """What looks at uploaded files."""
    probe = AudioProbe()
    yield probe
    probe.close()


def write(folder: Path, kinds: Sequence[Kind]) -> list[Path]:
    folder.mkdir()
    paths: list[Path] = []
    for seed, kind in enumerate(kinds):
        samples, rate = kind(seed)
        paths.append(folder / f"{kind.__name__}-{seed}.wav")
        soundfile.write(paths[-1], samples, rate, subtype="FLOAT")
    return paths


def clip_of(sound: ProbedSound, sha256: str, name: str, size_bytes: int) -> Clip:
    """A clip of what was probed."""
    return Clip(
        sha256=sha256,
        name=name,
        size_bytes=size_bytes,
        num_samples=sound.num_samples,
        sample_rate=sound.sample_rate,
        channels=sound.channels,
        format=sound.format,
    )


def upload(bench: Bench, probe: AudioProbe, paths: Sequence[Path]) -> DatasetSnapshot:
    """Probe and store each file; raises AudioError for one that is refused."""
    clips: list[Clip] = []
    for path in paths:
        sound = probe.probe(path, path.name)
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        bench.storage.write(f"clips/{sha256}", data)
        clips.append(clip_of(sound, sha256, path.name, len(data)))
    version = hashlib.sha256("".join(sorted(clip.sha256 for clip in clips)).encode()).hexdigest()
    bench.dataset = DatasetSnapshot(dataset_id=1, name="sounds", version=1, version_hash=version, clips=tuple(clips))
    return bench.dataset


def train(bench: Bench, around: Surroundings, representation: Representation, **changes: Any) -> AttemptResult:
    """A whole training, after which nothing that it made may be anything but a number."""
    values = {"epochs": 1, "expansion": 1, "preview_every": 1, "chunk_s": 0.4, "speeds": (1.0, 1.2), "pitches": (3.0,)}
    config = tiny_config(representation, **{**values, "first_weights": "principal", **changes})
    result = bench.train(bench.attempt(config), around)
    features = load_feature_set(bench.storage, config.features().cache_key(bench.dataset.version_hash))
    assert features is None or torch.isfinite(features.frames).all()
    return result


@pytest.mark.parametrize(
    ("representation", "kind"), [*(("mel", kind) for kind in KINDS), ("mel_if", "silence"), ("mel_if", "one of each")]
)
def test_whatever_is_a_sound_trains_to_a_checkpoint(
    tmp_path: Path, probe: AudioProbe, representation: Representation, kind: str
):
    bench, around = Bench(tmp_path, files=0), Surroundings()
    upload(bench, probe, write(tmp_path / "in", KINDS[kind]))

    result = train(bench, around, representation)

    assert result.outcome == "completed", result
    losses = [loss for event in around.of(StepMetrics) for loss in (*event.loss, *event.reconstruction, *event.kl)]
    assert losses
    assert all(loss is not None and math.isfinite(loss) for loss in losses)
    assert around.of(CheckpointSaved)[-1].reason == "final"
    assert around.of(EpochMetrics)
    assert around.of(PreviewMade)


@pytest.mark.parametrize(("expansion", "outcome"), [(1, "failed"), (2, "completed")])
def test_a_model_of_a_single_innermost_cell_never_gets_a_batch_of_one(
    tmp_path: Path, probe: AudioProbe, expansion: int, outcome: str
):
    """BatchNorm has nothing to go by where one example has one value in each channel."""
    bench, around = Bench(tmp_path, files=0), Surroundings()
    upload(bench, probe, write(tmp_path / "in", (tenth_of_a_second,)))

    result = train(bench, around, "mel_if", chunk_s=0.2, expansion=expansion)

    assert result.outcome == outcome, result
    assert outcome == "completed" or "raise expansion" in result.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_file_with_values_that_are_no_numbers_is_refused_by_name_wherever_it_appears(
    tmp_path: Path, probe: AudioProbe, bad: float
):
    paths = write(tmp_path / "in", (ordinary, ordinary))
    samples = make_sound(0)
    samples[9_000] = bad
    soundfile.write(paths[1], samples, 48_000, subtype="FLOAT")
    bench, around = Bench(tmp_path, files=0), Surroundings()

    with pytest.raises(AudioError, match=rf"^{paths[1].name} has samples that are no numbers .*: export it again\.$"):
        upload(bench, probe, paths)

    # An older api, or a store that somebody else filled, might have let it through.
    dataset = upload(bench, probe, paths[:1])
    data = paths[1].read_bytes()
    hidden = dataset.clips[0].model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "name": paths[1].name})
    bench.storage.write(f"clips/{hidden.sha256}", data)
    bench.dataset = dataset.model_copy(update={"clips": (*dataset.clips, hidden)})
    result = train(bench, around, "mel")
    assert result.outcome == "failed"
    assert result.reason.startswith(f"{paths[1].name} holds values that are not numbers: export it again")


def test_five_thousand_files_are_planned_and_trained(tmp_path: Path, probe: AudioProbe):
    count, length = 5_000, 2_048
    bench, around = Bench(tmp_path, files=0), Surroundings()
    noise = np.random.default_rng(0).integers(-20_000, 20_000, size=length + count).astype(np.int16)
    first = tmp_path / "first.wav"
    soundfile.write(first, noise[:length], 16_000)
    sound, header = probe.probe(first, first.name), first.read_bytes()[: -2 * length]
    clips: list[Clip] = []
    (bench.storage.root / "clips").mkdir()
    for index in range(count):
        # Written past the store, which has each file durable before the next.
        data = header + noise[index : index + length].tobytes()
        sha256 = hashlib.sha256(data).hexdigest()
        (bench.storage.root / "clips" / sha256).write_bytes(data)
        clips.append(clip_of(sound, sha256, f"{index}.wav", len(data)))
    bench.dataset = DatasetSnapshot(dataset_id=1, name="many", version=1, version_hash="1" * 64, clips=tuple(clips))
    config = tiny_config(epochs=1, expansion=1, speeds=(1.0,), chunk_s=0.13, batch_size=1_024)

    plan = plan_training(clips, config)
    result = bench.train(bench.attempt(config), around)

    assert result.outcome == "completed", result
    assert result.step == plan.total_steps
    features = load_feature_set(bench.storage, config.features().cache_key(bench.dataset.version_hash))
    assert features is not None
    assert len(features.manifest.clips) == count
    assert torch.isfinite(features.frames).all()
    assert len([event for event in around.of(Progress) if event.phase == "features"]) <= MOST_EVENTS
    assert around.of(CheckpointSaved)
