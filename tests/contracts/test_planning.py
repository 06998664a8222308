"""What the api tells before a training is what the trainer does."""

from __future__ import annotations

import pytest

from shared import planning
from worker.train import data


@pytest.mark.parametrize("files", [1, 2, 7, 60])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_the_same_files_are_held_out(files: int, fraction: float) -> None:
    names = [f"{number:064x}" for number in range(files)]
    told, done = planning.split_files(names, fraction, 3), data.split_files(names, fraction, 3)
    assert (told.train, told.validation) == (done.train, done.validation)


def test_the_same_chunks_and_steps_are_made() -> None:
    for frames in range(1, 400, 7):
        assert planning.chunk_starts(frames, 94) == data.chunk_starts(frames, 94)
    for chunks in range(1, 200, 3):
        told = planning.BatchRule.of(batch_size=32, chunks=chunks, expansion=3)
        done = data.BatchRule.of(batch_size=32, chunks=chunks, expansion=3)
        assert (told.size, told.steps) == (done.size, done.steps)
