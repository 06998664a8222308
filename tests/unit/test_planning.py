"""What a training comes to, before it runs."""

from __future__ import annotations

import pytest

from shared.config import TrainConfig
from shared.planning import BatchRule, chunk_starts, plan_training, split_files
from shared.presets import resolve_train_config
from tests.unit.api.conftest import clip


@pytest.mark.parametrize(
    ("files", "fraction", "held_out"), [(1, 0.5, 0), (2, 0.5, 1), (2, 0.9, 1), (10, 0.3, 3), (9, 0.0, 0)]
)
def test_each_side_of_a_split_has_a_file(files: int, fraction: float, held_out: int) -> None:
    names = [str(number) for number in range(files)]
    split = split_files(names, fraction, 1)
    assert len(split.validation) == held_out
    assert sorted(split.train + split.validation) == sorted(names)


def test_a_file_that_is_added_moves_no_other_across() -> None:
    names = [str(number) for number in range(100)]
    before, after = split_files(names, 0.2, 3), split_files([*names, "new"], 0.2, 3)
    assert len(set(before.validation) ^ set(after.validation)) <= 2


@pytest.mark.parametrize(
    ("chunks", "expansion", "size", "steps"),
    [(1, 5, 1, 5), (8, 1, 2, 4), (9, 1, 2, 4), (200, 10, 32, 63), (129, 1, 32, 4)],
)
def test_a_batch_is_a_quarter_of_the_chunks_and_never_one_at_the_end(
    chunks: int, expansion: int, size: int, steps: int
) -> None:
    rule = BatchRule.of(batch_size=32, chunks=chunks, expansion=expansion)
    assert (rule.size, rule.steps) == (size, steps)
    assert rule.bounds(steps - 1)[1] == chunks * expansion


@pytest.mark.parametrize(("frames", "starts"), [(10, [0]), (94, [0]), (140, [0]), (141, [0, 47]), (188, [0, 94])])
def test_chunks_lie_side_by_side(frames: int, starts: list[int]) -> None:
    assert chunk_starts(frames, 94) == starts


def test_lengths_are_counted_at_the_rate_of_the_training() -> None:
    train = resolve_train_config(file_count=1, changes={"epochs": 2, "expansion": 3})
    plan = plan_training([clip(1, num_samples=441_000, sample_rate=44_100)], train)
    # Ten seconds are 938 frames of 512 samples: nine chunks of 94 and the rest, which is more than half a chunk.
    assert (plan.held_out, plan.chunks, plan.batch_size, plan.steps_per_epoch, plan.total_steps) == (0, 10, 2, 15, 30)
    assert plan_training([clip(1, num_samples=2_048)], TrainConfig()).chunks == 1
