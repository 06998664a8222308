"""The sounds that are measured with: a folder's, or small ones made on the spot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from shared.audio.decode import decode_mono
from shared.config import MIN_CLIP_SAMPLES, FeatureConfig
from shared.storage import FolderStorage
from tests.benchmarks.measuring import Options
from tests.benchmarks.surroundings import Nobody
from tests.sounds import store_dataset, write_sounds
from worker.preprocess.feature_set import FeatureSet, load_feature_set
from worker.preprocess.make import make_features

MADE_SOUNDS: Final = 24
MADE_SECONDS: Final = 8.0
HELD_OUT: Final = 0.2


def usable_sounds(corpus: Path) -> list[Path]:
    """Every file below `corpus` that is long enough to be taken, sorted by path."""
    found: list[Path] = []
    for path in sorted(corpus.rglob("*")):
        if path.is_file():
            try:
                found += [path] if soundfile.info(path).frames >= MIN_CLIP_SAMPLES else []
            except soundfile.LibsndfileError:
                continue  # a licence, a cover picture
    return found


def sounds_of(options: Options) -> list[Path]:
    """The corpus that was chosen, or made sounds."""
    if options.corpus is None:
        return write_sounds(options.folder / "sounds", MADE_SOUNDS, duration_s=MADE_SECONDS)
    found = usable_sounds(options.corpus)
    if not found:
        raise SystemExit(f"There is no usable sound below {options.corpus}.")
    return found


def first_seconds(sounds: Sequence[Path], most: int, *, padded: bool = True, sample_rate: int = 48_000) -> list[Tensor]:
    """The first second, [1, 1, S], of at most `most` sounds, evenly spread; silent ones are left out.

    Shorter sounds are filled up with silence where they are to be `padded`.
    """
    chosen = [sounds[index * len(sounds) // most] for index in range(most)] if len(sounds) > most else sounds
    seconds: list[Tensor] = []
    for path in chosen:
        second = torch.from_numpy(decode_mono(path, sample_rate))[:sample_rate]
        if padded:
            second = functional.pad(second, (0, sample_rate - len(second)))
        if second.abs().max() > 0:
            seconds.append(second[None, None])
    return seconds


class Corpus:
    """Sounds in a store, divided into those to learn from and those held out, and their features."""

    def __init__(self, options: Options) -> None:
        self.storage = FolderStorage(options.folder / "store")
        self.dataset = store_dataset(self.storage, sounds_of(options))
        self.train, self.held_out = divide([clip.sha256 for clip in self.dataset.clips])
        """Hashes of files."""

    def features(self, config: FeatureConfig) -> FeatureSet:
        """Features of all files, made where they are not there yet."""
        key = config.cache_key(self.dataset.version_hash)
        features = load_feature_set(self.storage, key)
        if features is None:
            nobody = Nobody()
            make_features(self.dataset, config, storage=self.storage, reporter=nobody, control=nobody)
            features = load_feature_set(self.storage, key)
        if features is None:
            raise RuntimeError("The features cannot be read back.")
        return features


def divide(sha256s: Sequence[str]) -> tuple[list[str], list[str]]:
    """(to learn from, held out) of files in the order of their paths.

    Shuffled by random.Random(0), the first fifth is held out, at least one. A file with the same content as a held-out
    one is learned from nowhere.
    """
    order = list(sha256s)
    random.Random(0).shuffle(order)
    count = max(1, round(HELD_OUT * len(order)))
    held_out = list(dict.fromkeys(order[:count]))
    return [each for each in dict.fromkeys(order[count:]) if each not in held_out], held_out
