"""Sound files to log-mel features: librosa, or the nearest that is installed, and ours; in times real time.

librosa (the extra `bench`): `librosa.load` (soundfile and soxr's second-best quality), `melspectrogram`, log1p, one
file after the other. Without it: soundfile, torchaudio's Resample and MelSpectrogram, the same way. Ours is the whole
preprocess job at one playback speed: decoding, the best quality of soxr, features written to the artifact store and
hashed. `all_speeds` is ours with the default preset's playback speeds, in times real time of the sound as it is
played at them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from shared.audio.torchaudio_compat import import_torchaudio
from shared.config import FeatureConfig
from shared.presets import preset_values
from shared.storage import FolderStorage
from tests.benchmarks.corpus import sounds_of
from tests.benchmarks.listening import CONFIG
from tests.benchmarks.measuring import Options, Results, interleaved
from tests.benchmarks.surroundings import Nobody
from tests.sounds import store_dataset
from worker.preprocess.make import make_features


def measure(options: Options) -> Results:
    """Times real time; ratio = ours / baseline."""
    sounds = sounds_of(options)
    storage = FolderStorage(options.folder / "store")
    dataset = store_dataset(storage, sounds)
    seconds = sum(clip.duration_s for clip in dataset.clips)
    one_speed = FeatureConfig()
    all_speeds = FeatureConfig(speeds=preset_values("auto", len(sounds))["speeds"])
    name, usual = usual_way()

    def make(config: FeatureConfig) -> Callable[[], object]:
        nobody = Nobody()
        return lambda: make_features(dataset, config, storage=storage, reporter=nobody, control=nobody)

    baseline_s, ours_s, all_s = interleaved(lambda: usual(sounds), make(one_speed), make(all_speeds))
    baseline, ours = seconds / baseline_s, seconds / ours_s
    return {
        f"{name}, {len(sounds)} files": {
            "baseline": baseline,
            "ours": ours,
            "ratio": ours / baseline,
            "all_speeds": sum(seconds / speed for speed in all_speeds.speeds) / all_s,
            "seconds_of_sound": seconds,
        }
    }


def usual_way() -> tuple[str, Callable[[Sequence[Path]], object]]:
    """What features are made with elsewhere, and its name."""
    if importlib.util.find_spec("librosa") is None:
        return "soundfile and torchaudio", _with_torchaudio
    return "librosa", _with_librosa


def _with_librosa(sounds: Sequence[Path]) -> list[Any]:
    import librosa  # pyright: ignore[reportMissingImports]
    import numpy as np

    features: list[Any] = []
    for path in sounds:
        samples, rate = librosa.load(path, sr=CONFIG.sample_rate, mono=True)
        mel = librosa.feature.melspectrogram(
            y=samples,
            sr=rate,
            n_fft=CONFIG.n_fft,
            hop_length=CONFIG.hop_length,
            n_mels=CONFIG.n_mels,
            htk=True,
            norm=None,
        )
        features.append(np.log1p(mel))
    return features


def _with_torchaudio(sounds: Sequence[Path]) -> list[torch.Tensor]:
    transforms = import_torchaudio().transforms
    mel = transforms.MelSpectrogram(
        sample_rate=CONFIG.sample_rate, n_fft=CONFIG.n_fft, hop_length=CONFIG.hop_length, n_mels=CONFIG.n_mels
    )
    resamplers: dict[int, torch.nn.Module] = {}
    features: list[torch.Tensor] = []
    for path in sounds:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = torch.from_numpy(samples).mean(dim=1)
        if rate != CONFIG.sample_rate:
            if rate not in resamplers:
                resamplers[rate] = transforms.Resample(rate, CONFIG.sample_rate)
            mono = resamplers[rate](mono)
        features.append(torch.log1p(mel(mono)))
    return features
