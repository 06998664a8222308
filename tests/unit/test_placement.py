"""Placement: which jobs wait for the same workers."""

from __future__ import annotations

import pytest

from shared.placement import DailyHours, Placement, needs_of


def test_jobs_with_equal_needs_wait_for_the_same_workers() -> None:
    assert needs_of("auto", Placement()) == needs_of("auto", Placement(labels=(), worker=""))
    assert needs_of("auto", Placement(time_limit_s=60.0)) == needs_of("auto", Placement()), "a limit chooses no worker"


@pytest.mark.parametrize(
    ("device", "placement"),
    [
        ("cpu", Placement()),
        ("auto", Placement(labels=("studio",))),
        ("auto", Placement(worker="here/cpu")),
        ("auto", Placement(min_free_memory_bytes=1)),
        ("auto", Placement(only_when_idle=True)),
        ("auto", Placement(hours=DailyHours(start="23:00", end="07:00"))),
    ],
)
def test_whatever_chooses_a_worker_makes_other_needs(device: str, placement: Placement) -> None:
    assert needs_of(device, placement) != needs_of("auto", Placement())
