"""Datasets in the record: names, versions, duplicates."""

from __future__ import annotations

import pytest

from api.record.datasets import DatasetRecord, check_dataset_name, free_name
from shared.errors import ConfigError, InUseError, NotFoundError
from tests.unit.api.conftest import clip

ON_BOTH_DATABASES = True


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "a\x00", "2026", "a/b", "a\\b", "..", "\u2028"])
def test_a_name_that_cannot_be_addressed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_dataset_name(name)
    assert caught.value.field == "name"


def test_a_name_is_trimmed_and_composed() -> None:
    assert check_dataset_name("  u\u0308ber  ") == "über"


def test_a_name_is_given_once(datasets: DatasetRecord) -> None:
    datasets.create("drums")
    with pytest.raises(InUseError, match="choose another name"):
        datasets.create(" drums ")


def test_a_dataset_is_found_by_id_and_by_name(datasets: DatasetRecord) -> None:
    made = datasets.create("kicks 808")
    assert datasets.view(made.id) == datasets.view(str(made.id)) == datasets.view("kicks 808") == made
    for key in (made.id + 1, "snares", "9" * 40):
        with pytest.raises(NotFoundError, match="There is no dataset"):
            datasets.view(key)


def test_content_decides_the_version(datasets: DatasetRecord) -> None:
    dataset_id = datasets.create("drums").id
    datasets.add_clips(dataset_id, [clip(1)])
    datasets.add_clips(dataset_id, [clip(2)])
    assert datasets.view(dataset_id).version == 1, "what was never used is one version"
    first = datasets.snapshot("drums")
    assert (first.version, [one.name for one in first.clips]) == (1, ["sound 1.wav", "sound 2.wav"])
    assert datasets.snapshot("drums") == first
    datasets.add_clips(dataset_id, [clip(3)])
    assert datasets.view(dataset_id).version == 2
    second = datasets.snapshot("drums")
    assert second.version == 2
    assert second.version_hash != first.version_hash


def test_the_version_hash_ignores_names_and_order(datasets: DatasetRecord) -> None:
    one, other = datasets.create("one").id, datasets.create("other").id
    datasets.add_clips(one, [clip(1), clip(2)])
    datasets.add_clips(other, [clip(2, name="b.wav"), clip(1, name="z.wav")])
    assert datasets.snapshot(one).version_hash == datasets.snapshot(other).version_hash


def test_the_same_content_is_kept_once(datasets: DatasetRecord) -> None:
    dataset_id = datasets.create("drums").id
    results = datasets.add_clips(dataset_id, [clip(1, name="kick.wav"), clip(1, name="copy.wav")])
    assert [(result.name, result.added) for result in results] == [("kick.wav", True), ("kick.wav", False)]
    assert datasets.view(dataset_id).clips == 1


def test_other_content_under_the_same_name_gets_a_number(datasets: DatasetRecord) -> None:
    dataset_id = datasets.create("drums").id
    results = datasets.add_clips(dataset_id, [clip(number, name="a/kick.wav") for number in range(3)])
    assert [result.name for result in results] == ["a/kick.wav", "a/kick (2).wav", "a/kick (3).wav"]


def test_a_longest_name_stays_within_its_column() -> None:
    longest = "x" * 1020 + ".wav"
    assert len(free_name(longest, {longest})) == 1024


def test_views_sum_up_what_a_dataset_holds(datasets: DatasetRecord) -> None:
    dataset_id = datasets.create("drums").id
    datasets.add_clips(dataset_id, [clip(1), clip(2, num_samples=22_050, sample_rate=44_100)])
    [view] = datasets.all()
    assert (view.clips, view.duration_s, view.sample_rates, view.channels) == (2, 1.5, [44_100, 48_000], [1])
    detail = datasets.detail("drums")
    assert [(file.name, file.duration_s) for file in detail.files] == [("sound 1.wav", 1.0), ("sound 2.wav", 0.5)]


def test_clips_of_a_dataset_that_is_gone_are_refused(datasets: DatasetRecord) -> None:
    with pytest.raises(NotFoundError):
        datasets.add_clips(7, [clip(1)])
    datasets.create("drums")
    with pytest.raises(NotFoundError, match="has no clip"):
        datasets.clip("drums", "0" * 64)
