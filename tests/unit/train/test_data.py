"""Splits, batches, chunks and the excerpts of an epoch."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from shared.audio.representation import make_representation
from shared.config import TrainConfig
from shared.planning import BatchRule, chunk_starts, seeded_number, split_files
from shared.vae.scaling import FeatureScaling
from tests.unit.train.tools import TINY_SPECTROGRAM, tiny_config
from worker.preprocess.feature_set import ClipFrames, FeatureManifest, FeatureSet
from worker.train.data import TrainingData

NAMES = [f"sound-{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("files", "fraction", "held_out"),
    [(2, 0.5, 1), (3, 0.5, 2), (9, 0.5, 4), (10, 0.3, 3), (49, 0.3, 15), (50, 0.2, 10), (200, 0.1, 20), (2, 0.9, 1)],
)
def test_a_split_holds_out_its_share_and_leaves_a_file_on_each_side(files: int, fraction: float, held_out: int):
    names = [f"file-{number}" for number in range(files)]

    split = split_files(names, fraction, seed=0)

    assert len(split.validation) == held_out
    assert len(split.train) == files - held_out >= 1
    assert sorted(split.train + split.validation) == sorted(names)


def test_one_file_is_all_for_training():
    assert split_files(["alone"], 0.5, seed=0).validation == ()


def test_no_share_means_no_validation():
    assert split_files(NAMES, 0.0, seed=0).validation == ()


def test_the_split_depends_on_names_and_seed_alone():
    assert split_files(NAMES, 0.3, seed=1) == split_files(NAMES[::-1], 0.3, seed=1)
    assert split_files(NAMES, 0.3, seed=1) != split_files(NAMES, 0.3, seed=2)


@pytest.mark.parametrize(
    ("chunks", "batch_size", "size"), [(1, 32, 1), (3, 32, 1), (7, 32, 1), (8, 32, 2), (100, 32, 25), (500, 32, 32)]
)
def test_the_batch_is_a_quarter_of_the_chunks_at_most(chunks: int, batch_size: int, size: int):
    assert BatchRule.of(batch_size=batch_size, chunks=chunks, expansion=1).size == size


@pytest.mark.parametrize("chunks", range(1, 80))
@pytest.mark.parametrize("expansion", [1, 3])
def test_batches_cover_an_epoch_and_none_that_could_be_larger_has_one_example(chunks: int, expansion: int):
    rule = BatchRule.of(batch_size=16, chunks=chunks, expansion=expansion)

    bounds = [rule.bounds(index) for index in range(rule.steps)]

    assert bounds[0][0] == 0
    assert bounds[-1][1] == chunks * expansion
    assert all(end == first for (_, end), (first, _) in pairwise(bounds))
    assert all(end - first >= min(2, rule.size) for first, end in bounds)


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(10, [0]), (94, [0]), (140, [0]), (141, [0, 47]), (188, [0, 94]), (240, [0, 94, 146]), (1, [0])],
)
def test_chunks_stand_side_by_side_and_the_last_ends_with_the_file(frames: int, starts: list[int]):
    assert chunk_starts(frames, 94) == starts


def test_seeded_numbers_do_not_change_between_versions():
    assert seeded_number("epoch", 0, 3) == 7_277_022_276_155_069_402


def _data(config: TrainConfig, lengths: list[tuple[int, ...]], *, unit: float = 1.0) -> TrainingData:
    """Features whose value tells the row: frame f of a clip's variant stands in the row's every cell, in `unit`s."""
    clips = tuple(ClipFrames(sha256=f"clip-{number}", frames=length) for number, length in enumerate(lengths))
    features = config.features()
    manifest = FeatureManifest(config=features, channels=1, clips=clips, shards=())
    rows = unit * torch.arange(1 + manifest.rows, dtype=torch.float32)[:, None].expand(-1, TINY_SPECTROGRAM.n_mels)
    return TrainingData(
        FeatureSet(manifest=manifest, frames=rows.contiguous()),
        config,
        make_representation(features),
        torch.device("cpu"),
    )


def test_a_chunk_is_a_slice_of_its_file_and_silence_follows_a_short_one():
    config = tiny_config(speeds=(1.0,))
    data = _data(config, [(40,), (10,)])

    chunks = data.unscaled_batch(data.fixed(data.grid(["clip-0", "clip-1"])), 0, 2)

    assert chunks.shape == (2, 1, 32, 32)
    assert chunks[0, 0, 0].tolist() == list(range(1, 33))
    assert chunks[1, 0, 5].tolist() == [*range(41, 51), *[0] * 22]


def test_an_epoch_has_each_chunk_as_often_as_the_expansion_says():
    config = tiny_config(speeds=(1.0,), random_crops=False, gain_db=0.0, expansion=3)
    data = _data(config, [(96,), (32,)])
    grid = data.grid(["clip-0", "clip-1"])

    epoch = data.epoch(grid, 0)

    first_rows = sorted((epoch.base + epoch.start).tolist())
    assert first_rows == sorted([1, 33, 65, 97] * 3)


def test_the_examples_of_an_epoch_depend_on_seed_and_epoch_alone():
    config = tiny_config()
    lengths: list[tuple[int, ...]] = [(96, 100, 80), (200, 220, 160)]
    data = _data(config, lengths)
    grid = data.grid(["clip-0", "clip-1"])

    def rows(data: TrainingData, epoch: int) -> list[int]:
        excerpts = data.epoch(grid, epoch)
        return (excerpts.base + excerpts.start).tolist()

    assert rows(data, 4) == rows(_data(config, lengths), 4)
    assert rows(data, 4) != rows(data, 5)
    assert rows(data, 4) != rows(_data(tiny_config(seed=1), lengths), 4)


def test_crops_stay_within_their_clip_but_for_the_silence_before_it():
    config = tiny_config(expansion=200)
    data = _data(config, [(96, 106, 80), (20, 22, 16)])
    excerpts = data.epoch(data.grid(["clip-0", "clip-1"]), 0)
    earliest = -round(config.shift_s * 16_000 / 128)

    latest = (excerpts.length - config.frames).clamp_min(0)

    assert int(excerpts.start.min()) == earliest
    assert bool((excerpts.start <= latest).all())
    assert bool((excerpts.start == latest).any())
    assert set(excerpts.length.tolist()) == {96, 106, 80, 20, 22, 16}


def test_gain_makes_quieter_and_never_louder():
    config = tiny_config(gain_db=6.0)
    data = _data(config, [(96, 106, 80)])
    excerpts = data.epoch(data.grid(["clip-0"]), 0)
    assert excerpts.gain_db is not None
    assert float(excerpts.gain_db.max()) <= 0.0
    assert -6.0 <= float(excerpts.gain_db.min()) < -3.0


LENGTHS = (100, 110, 120, 130, 140)
"""Frames of a clip at three speeds and two pitches: here, a length tells the variant."""


def drawn_shares(**changes: Any) -> dict[str, float]:
    """Shares of an epoch's 4,000 examples: of each length, and of all that may be done to them."""
    config = tiny_config(expansion=1000, pitches=(-2.0, 2.0), chunk_s=0.8, **changes)
    data = _data(config, [LENGTHS] * 4)
    excerpts = data.epoch(data.grid([f"clip-{number}" for number in range(4)]), 0)
    gain, noise, curve, mixed = excerpts.gain_db, excerpts.noise_rms, excerpts.equalizer_db, excerpts.is_mixed
    shares = {str(length): float((excerpts.length == length).float().mean()) for length in LENGTHS}
    return {
        **shares,
        "quieter": 0.0 if gain is None else float((gain < 0).float().mean()),
        "early": float((excerpts.start < 0).float().mean()),
        "noisy": 0.0 if noise is None else float((noise > 0).float().mean()),
        "mixed": 0.0 if mixed is None else float(mixed.float().mean()),
        "equalized": 0.0 if curve is None else float(curve.any(dim=1).float().mean()),
    }


SHARE_TOLERANCE = 0.03
"""Four standard deviations of a share of 4,000 examples."""


def test_each_change_has_its_probability():
    shares = drawn_shares(
        speed_probability=0.4,
        pitch_probability=0.5,
        gain_probability=0.25,
        shift_s=10.0,
        shift_probability=0.75,
        noise_probability=0.1,
        mix_probability=0.35,
        equalizer_probability=0.65,
    )
    expected = {"100": 0.3, "110": 0.2, "120": 0.2, "130": 0.15, "140": 0.15, "quieter": 0.25, "noisy": 0.1}
    expected |= {"mixed": 0.35, "equalized": 0.65}
    assert {name: shares[name] for name in expected} == pytest.approx(expected, abs=SHARE_TOLERANCE)
    assert shares["early"] == pytest.approx(0.75, abs=3 * SHARE_TOLERANCE), "but for crops that still start inside"


def test_what_has_no_probability_does_not_happen():
    of = ("speed", "pitch", "gain", "shift", "noise", "mix", "equalizer")
    shares = drawn_shares(**{f"{name}_probability": 0.0 for name in of})
    assert shares == {**dict.fromkeys(shares, 0.0), "100": 1.0}


def test_a_share_of_the_examples_are_excerpts_as_they_are():
    of = ("speed", "pitch", "noise", "mix", "equalizer")
    always = {f"{name}_probability": 1.0 for name in of}
    half = drawn_shares(augment_probability=0.5, shift_s=10.0, **(always | {"speed_probability": 0.4}))
    expected = {"100": 0.5, "110": 0.1, "120": 0.1, "130": 0.15, "140": 0.15}
    expected |= {"noisy": 0.5, "mixed": 0.5, "equalized": 0.5, "quieter": 0.5}
    assert half["early"] == pytest.approx(0.5, abs=3 * SHARE_TOLERANCE), "but for crops that still start inside"
    assert {name: half[name] for name in expected} == pytest.approx(expected, abs=SHARE_TOLERANCE)
    none = drawn_shares(augment_probability=0.0, shift_s=10.0, **always)
    assert none == {**dict.fromkeys(none, 0.0), "100": 1.0}


def test_how_many_are_augmented_changes_nothing_of_those_that_are():
    of = ("mix", "equalizer", "noise", "speed")
    config = tiny_config(pitches=(2.0,), expansion=50, **{f"{name}_probability": 1.0 for name in of})
    lengths: list[tuple[int, ...]] = [LENGTHS[:4], (200, 210, 220, 230)]
    everyone, some = (
        _data(config.model_copy(update={"augment_probability": share}), lengths, unit=0.01) for share in (1.0, 0.7)
    )
    grid = some.grid(["clip-0", "clip-1"])
    before, examples = everyone.epoch(grid, 3), some.epoch(grid, 3)
    count = len(examples.base)
    augmented = examples.is_mixed
    assert augmented is not None
    assert 0.55 < float(augmented.float().mean()) < 0.85

    for name in ("base", "length", "start", "gain_db", "equalizer_db", "noise_rms"):
        assert torch.equal(getattr(examples, name)[augmented], getattr(before, name)[augmented]), name
    for name in ("base", "length", "start", "gain_db"):
        assert torch.equal(getattr(examples.others, name), getattr(before.others, name)), name
    found = some.unscaled_batch(examples, 0, count)
    cut_out = replace(examples, gain_db=None, noise_rms=None, equalizer_db=None, others=None, is_mixed=None)
    alone = some.unscaled_batch(cut_out, 0, count)
    torch.testing.assert_close(found[~augmented], alone[~augmented])
    assert (found != alone).flatten(1).any(dim=1)[augmented].all()


def test_what_is_drawn_does_not_change_between_versions():
    """A training that another version began goes on with the same examples."""
    of = ("mix", "equalizer", "noise")
    config = tiny_config(pitches=(2.0,), expansion=4, shift_s=0.5, **{f"{name}_probability": 0.5 for name in of})
    data = _data(config, [LENGTHS[:4], (200, 210, 220, 230)])
    drawn = data.epoch(data.grid(["clip-0", "clip-1"]), 3)
    assert drawn.others is not None
    assert drawn.is_mixed is not None
    whole = (drawn.base, drawn.length, drawn.start, drawn.is_mixed.long(), drawn.others.base, drawn.others.start)
    decibels = (drawn.gain_db, drawn.equalizer_db, drawn.others.gain_db)
    assert [int((each * torch.arange(1, len(each) + 1)).sum()) for each in whole] == [
        387786,
        123840,
        31118,
        349,
        362236,
        16349,
    ]
    sums = [float(each.double().sum()) for each in decibels if each is not None]
    assert sums == pytest.approx([-96.8622514, 22.8023653, -337.7681386])
    assert drawn.noise_rms is not None
    assert float(drawn.noise_rms.double().sum()) == pytest.approx(0.0619818418)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_noise_depends_on_epoch_and_position_alone_and_leaves_the_others_as_they_are(probability: float):
    loud = tiny_config(noise_probability=probability, noise_db=-10.0, gain_db=0.0)
    lengths: list[tuple[int, ...]] = [(96, 100, 80), (200, 220, 160)]
    data = _data(loud, lengths, unit=0.01)
    plain = _data(loud.model_copy(update={"noise_probability": 0.0}), lengths, unit=0.01)
    grid = data.grid(["clip-0", "clip-1"])
    examples = data.epoch(grid, 3)
    assert examples.noise_rms is not None
    count = len(examples.base)

    late = data.unscaled_batch(examples, 2, count)

    data.unscaled_batch(data.epoch(grid, 0), 0, count)
    torch.randn(5)
    assert torch.equal(late, _data(loud, lengths, unit=0.01).unscaled_batch(examples, 2, count))
    assert not torch.equal(late, data.unscaled_batch(replace(examples, epoch=4), 2, count))
    changed = (late != plain.unscaled_batch(plain.epoch(grid, 3), 2, count)).flatten(1).any(dim=1)
    assert torch.equal(changed, examples.noise_rms[2:] > 0)


def test_what_is_mixed_in_is_another_excerpt_at_its_own_level():
    config = tiny_config(mix_probability=0.5, mix_db=12.0, gain_db=0.0, random_crops=False, expansion=20)
    lengths: list[tuple[int, ...]] = [(96, 100, 80), (200, 220, 160)]
    data = _data(config, lengths, unit=0.01)
    plain = _data(config.model_copy(update={"mix_probability": 0.0}), lengths, unit=0.01)
    examples = data.epoch(data.grid(["clip-0", "clip-1"]), 3)
    others, is_mixed = examples.others, examples.is_mixed
    assert others is not None
    assert others.gain_db is not None
    assert is_mixed is not None
    assert 0.2 < float(is_mixed.float().mean()) < 0.8
    assert -12.0 <= float(others.gain_db.min()) < float(others.gain_db.max()) <= 0.0
    count = len(examples.base)

    found = data.unscaled_batch(examples, 2, count)

    alone = plain.unscaled_batch(replace(examples, others=None, is_mixed=None), 2, count)
    added = plain.unscaled_batch(others, 2, count)
    power = torch.expm1(alone) + torch.expm1(added) * is_mixed[2:, None, None, None]
    torch.testing.assert_close(found, torch.log1p(power))
    assert torch.equal(found[~is_mixed[2:]], alone[~is_mixed[2:]]), "the others are what they were"


def test_an_equaliser_bends_the_bands_along_a_curve_that_stays_for_the_whole_example():
    config = tiny_config(equalizer_probability=0.5, equalizer_db=8.0, gain_db=0.0, expansion=20)
    lengths: list[tuple[int, ...]] = [(96, 100, 80), (200, 220, 160)]
    data = _data(config, lengths, unit=0.01)
    examples = data.epoch(data.grid(["clip-0", "clip-1"]), 3)
    assert examples.equalizer_db is not None
    assert 4.0 < float(examples.equalizer_db.abs().max()) <= 8.0
    count = len(examples.base)

    found = data.unscaled_batch(examples, 2, count)

    plain = data.unscaled_batch(replace(examples, equalizer_db=None), 2, count)
    sounding = plain > 0
    change_db = 10 * torch.log10(torch.expm1(found) / torch.expm1(plain))
    lowest, highest = change_db[:, 0, 0], change_db[:, 0, -1]
    knots = examples.equalizer_db[2:]
    for curve, knot in ((lowest, knots[:, :1]), (highest, knots[:, -1:])):
        heard = sounding[:, 0, 0]
        torch.testing.assert_close(curve[heard], knot.expand_as(curve)[heard], atol=1e-3, rtol=1e-3)
    steps = change_db[:, 0].diff(dim=1)[sounding[:, 0, 1:]]
    assert float(steps.abs().max()) <= 16.0 * 5 / 31 + 1e-3, "five lines over 32 bands"


def test_validation_is_never_augmented():
    config = tiny_config(
        noise_probability=1.0,
        pitches=(2.0,),
        pitch_probability=1.0,
        speed_probability=1.0,
        mix_probability=1.0,
        equalizer_probability=1.0,
    )
    fixed = _data(config, [LENGTHS[:4]])
    excerpts = fixed.fixed(fixed.grid(["clip-0"]))
    assert (excerpts.gain_db, excerpts.noise_rms, excerpts.equalizer_db, excerpts.others) == (None, None, None, None)
    assert set(excerpts.length.tolist()) == {100}


def test_five_thousand_files_are_ready_in_seconds():
    config = tiny_config(speeds=(1.0,))
    data = _data(config, [(200,)] * 5000)
    names = [f"clip-{number}" for number in range(5000)]
    began_at = time.process_time()
    grid = data.grid(names)
    data.fit_scaling(names)
    data.epoch(grid, 0)
    assert time.process_time() - began_at < 5.0


def test_batches_are_scaled():
    config = tiny_config(speeds=(1.0,))
    data = _data(config, [(32,)])
    data.use_scaling(FeatureScaling(mean=(10.0,), scale=(2.0,)))

    batch = data.batch(data.fixed(data.grid(["clip-0"])), 0, 1, torch.contiguous_format)

    assert batch[0, 0, 0, :3].tolist() == [-4.5, -4.0, -3.5]
