"""The features of one clip: at once where it is short, piece by piece where it is long.

    short   read_mono --each speed--> resample --> analyse           each pitch: resample --> shift_pitch --> analyse
    long    scan --each variant--> blocks_of [--> shifted_blocks] --frame_windows--> analyse --> spool --level--> rows

Features are rows [T, C * n_mels] float32. A long clip's level, and the loudest cell that `mel_if` hides others below,
are known at its end only: so its frames are made at the level that the file happens to have, wait on the disk, and
are then brought to their level, which features allow exactly. Neither its samples nor its features are ever in
memory as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from shared.audio.decode import Samples, peak_of, read_mono, resample
from shared.audio.pitch import shift_pitch, shifted_blocks
from shared.audio.representation import make_representation
from shared.audio.streaming import Window, blocks_of, frame_windows, scan
from shared.config import FeatureConfig
from shared.jobs import Clip
from worker.preprocess.ahead import in_order
from worker.preprocess.feature_set import explained_scratch

LONG_SAMPLES: Final = 1 << 23
"""Samples above which a clip is long: 3 minutes at 48 kHz, 32 MiB."""
PIECE_FRAMES: Final = 256
"""Frames of a long clip that are analysed at a time: few enough for their spectrum to stay in the cache."""


class ClipAnalyser:
    """Makes features under one configuration; its methods may run on several threads at once."""

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._rate = config.spectrogram.sample_rate
        self._whole = make_representation(config)
        self._pieces = self._whole
        """Hides no frequency, since it does not see the whole clip."""
        if config.representation == "mel_if":
            self._pieces = make_representation(config.model_copy(update={"mask_threshold": 0.0}))
        self.channels = self._whole.channels

    def is_long(self, clip: Clip) -> bool:
        """Whether the clip is to be made piece by piece."""
        return self.size(clip) > 1.0

    def size(self, clip: Clip) -> float:
        """Samples that the clip is in memory at its own rate or at its slowest, as a share of what makes it long."""
        slowest = clip.num_samples / clip.sample_rate * self._rate / min(self.config.speeds)
        return max(clip.num_samples, slowest) / LONG_SAMPLES

    def short(self, path: Path, name: str) -> list[list[Tensor]]:
        """Rows of each variant of the clip in `path`, in one part; raises AudioError, which calls it `name`."""
        mono, source_rate = read_mono(path, name=name)
        original = resample(mono, source_rate, self._rate)
        return [
            [self._rows(original)],
            *([self._rows(resample(mono, source_rate, self._rate, speed=speed))] for speed in self.config.speeds[1:]),
            *([self._rows(shift_pitch(original, self._rate, pitch))] for pitch in self.config.pitches),
        ]

    def long(self, path: Path, name: str, *, spool: Path, pool: Executor) -> Iterator[Iterator[Tensor]]:
        """For each variant of the clip in `path` its rows in parts, each to be used up before the next.

        Frames wait in the file `spool`; pieces are analysed by `pool`. Raises AudioError, which calls the clip `name`.
        """
        source_peak, _ = scan(path, name=name)

        def blocks_at(speed: float) -> Iterator[Samples]:
            return blocks_of(path, self._rate, scale=source_peak, speed=speed, name=name)

        original = _Loudness()
        yield self._long_variant(original.listen(blocks_at(1.0)), original, spool, pool)
        for speed in self.config.speeds[1:]:
            faster = _Loudness()
            yield self._long_variant(faster.listen(blocks_at(speed)), faster, spool, pool)
        for pitch in self.config.pitches:
            higher = _Loudness()
            # At the very level of the whole sound: rounding alone changes the phases that the shift makes up.
            levelled = (block / np.float32(original.peak or 1.0) for block in blocks_at(1.0))
            blocks = higher.listen(shifted_blocks(levelled, self._rate, pitch))
            yield self._long_variant(blocks, higher, spool, pool)

    def _rows(self, waveform: Samples) -> Tensor:
        with torch.inference_mode():
            return as_rows(self._whole.analyse(torch.from_numpy(waveform)[None, None])[0])

    def _long_variant(
        self, blocks: Iterable[Samples], loudness: _Loudness, spool: Path, pool: Executor
    ) -> Iterator[Tensor]:
        windows = frame_windows(blocks, self.config.spectrogram, PIECE_FRAMES)
        with explained_scratch(spool.parent):
            file = spool.open("wb+")
        with file:
            for rows in in_order(pool, windows, self._piece):
                loudness.loudest = max(loudness.loudest, float(rows[:, : self.config.spectrogram.n_mels].max()))
                with explained_scratch(spool.parent):
                    file.write(rows.numpy().data)
                yield rows[:0]  # a sign of life
            file.seek(0)
            yield from self._at_level(file, loudness)

    def _piece(self, piece: tuple[Window, slice]) -> Tensor:
        """Rows of a window's own frames."""
        window, own = piece
        with torch.inference_mode():
            features = self._pieces.analyse(torch.from_numpy(window.samples)[None, None])[0]
            return as_rows(features[..., own])

    def _at_level(self, file: BinaryIO, loudness: _Loudness) -> Iterator[Tensor]:
        """The rows in `file` as they are when the clip's peak is 1, its masked frequencies 0."""
        mels = self.config.spectrogram.n_mels
        width = self.channels * mels
        audible = math.log1p(self.config.mask_threshold * math.expm1(loudness.loudest))
        while data := file.read(PIECE_FRAMES * width * 4):
            rows = torch.frombuffer(bytearray(data), dtype=torch.float32).view(-1, width)
            if self.config.representation == "mel_if":
                rows[:, mels:] *= rows[:, :mels] >= audible
            features = rows.view(len(rows), self.channels, mels).permute(1, 2, 0)[None]
            yield as_rows(self._whole.gain(features, loudness.missing_db)[0])


class _Loudness:
    """What is known of a long sound once it went by."""

    def __init__(self) -> None:
        self.peak = 0.0
        """Of the samples."""
        self.loudest = 0.0
        """Of the features' first channel, log1p."""

    def listen(self, blocks: Iterable[Samples]) -> Generator[Samples]:
        """The blocks themselves."""
        for block in blocks:
            self.peak = max(self.peak, peak_of(block))
            yield block

    @property
    def missing_db(self) -> float:
        """Decibels from the peak to full scale; 0 for silence."""
        return -20 * math.log10(self.peak) if self.peak > 0 else 0.0


def as_rows(features: Tensor) -> Tensor:
    """[C, n_mels, T] as contiguous [T, C * n_mels]."""
    return features.permute(2, 0, 1).reshape(features.shape[-1], -1).contiguous()
