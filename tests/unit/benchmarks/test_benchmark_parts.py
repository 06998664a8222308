"""What benchmarks stand on: divided corpora, the linear baseline, the distances between sounds, taking turns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.benchmarks.__main__ import BENCHMARKS, find_benchmark
from tests.benchmarks.corpus import divide, first_seconds, usable_sounds
from tests.benchmarks.linear import fit_projection
from tests.benchmarks.listening import convergence, log_distance_db, magnitude
from tests.benchmarks.measuring import ROUNDS, faster, interleaved, machine, smaller
from tests.sounds import make_sound, write_sounds


def test_every_benchmark_can_be_found():
    assert all(callable(find_benchmark(name)) for name in BENCHMARKS)


def test_works_take_turns_and_begin_in_turn():
    seen: list[str] = []
    times = interleaved(lambda: seen.append("a"), lambda: seen.append("b"), before_each=lambda: seen.append("-"))
    assert len(times) == 2
    assert "".join(seen) == "-a-b" + "-a-b-b-a" * (ROUNDS // 2) + "-a-b" * (ROUNDS % 2)


def test_ratios_point_the_way_that_they_say():
    assert faster(2.0, 0.5)["ratio"] == 4.0
    assert smaller(2.0, 0.5)["ratio"] == 0.25
    assert f"torch {torch.__version__}" in machine()


def test_a_fifth_is_held_out_and_nothing_is_learned_of_it():
    names = [f"{number:03}" for number in range(40)]
    train, held_out = divide(names)
    assert (len(train), len(held_out)) == (32, 8)
    assert sorted(train + held_out) == names
    assert divide(names) == (train, held_out)


def test_copies_of_held_out_files_are_not_learned_from():
    twice = [f"{number // 2:03}" for number in range(40)]
    train, held_out = divide(twice)
    assert not set(train) & set(held_out)
    assert len(train) == len(set(train))


def test_usable_sounds_are_sorted_and_long_enough(tmp_path: Path):
    write_sounds(tmp_path / "b", 1)
    write_sounds(tmp_path / "a", 1)
    write_sounds(tmp_path / "short", 1, duration_s=0.01)
    (tmp_path / "COPYING").write_text("no sound")
    assert usable_sounds(tmp_path) == [tmp_path / "a" / "sound-000.wav", tmp_path / "b" / "sound-000.wav"]


def test_seconds_are_padded_and_evenly_chosen(tmp_path: Path):
    sounds = write_sounds(tmp_path, 6)
    assert [second.shape[-1] for second in first_seconds(sounds, 3)] == [48_000] * 3
    assert [second.shape[-1] for second in first_seconds(sounds, 3, padded=False)] == [24_000] * 3


def test_a_projection_keeps_what_lies_in_its_plane():
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(3, 1, 4, 5, generator=generator).flatten(1)
    chunks = (1 + torch.randn(50, 3, generator=generator) @ plane).view(50, 1, 4, 5)
    errors = [fit_projection(chunks, dimensions).error(chunks) for dimensions in (0, 1, 2, 3)]
    assert errors[0] == pytest.approx(float(chunks.var(dim=0, correction=0).mean()), rel=1e-4)
    assert all(more < less for less, more in pairwise(errors))
    assert errors[3] == pytest.approx(0, abs=1e-9)


def test_distances_between_sounds():
    sound = torch.from_numpy(make_sound(0))[None, None]
    wanted, half = magnitude(sound), magnitude(0.5 * sound)
    assert convergence(wanted, wanted) == log_distance_db(wanted, wanted) == 0
    assert convergence(wanted, half) == pytest.approx(0.5, rel=1e-4)
    assert 0 < log_distance_db(wanted, half) <= 6.03
