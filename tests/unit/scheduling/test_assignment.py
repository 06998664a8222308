"""The scheduling decision: every rule of placement, and what holds for any workers and any queue."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.queue.assignment import Group, decide
from api.queue.fitting import (
    CUDA_FLOOR_BYTES,
    Needs,
    WorkerFacts,
    facts_of,
    fits_now,
    is_open,
    is_wanted_back,
    may_work,
    suits,
)
from shared.devices import parse_device
from shared.events import DeviceStatus, WorkerHeartbeat
from shared.placement import DailyHours, Placement

GIB = 2**30
NOON = 12 * 60


def worker(name: str = "w", device: str = "cpu", labels: tuple[str, ...] = (), **facts: Any) -> WorkerFacts:
    return WorkerFacts(name=name, host="here", device=parse_device(device), labels=frozenset(labels), **facts)


def needs(device: str = "auto", **placement: Any) -> Needs:
    return Needs(device=device, placement=Placement(**placement))


def group(wanted: Needs, *ids: int) -> Group:
    return Group(needs=wanted, places=[(0, float(job_id), job_id) for job_id in ids])


def decided(workers: list[WorkerFacts], groups: list[Group], minute: int = NOON) -> dict[int, str]:
    return {each.job_id: each.worker for each in decide(workers, groups, minute=minute)}


@pytest.mark.parametrize(
    ("who", "wanted", "fits"),
    [
        (worker(), needs(), True),
        (worker(device="cuda:1"), needs("cuda"), True),
        (worker(device="cuda:1"), needs("cuda:1"), True),
        (worker(device="cuda:1"), needs("cuda:0"), False),
        (worker(), needs("cuda"), False),
        (worker(labels=("studio", "big")), needs(labels=("big",)), True),
        (worker(labels=("studio",)), needs(labels=("studio", "big")), False),
        (worker("a"), needs(worker="a"), True),
        (worker("b"), needs(worker="a"), False),
        (worker(memory_total_bytes=8 * GIB, memory_used_bytes=3 * GIB), needs(min_free_memory_bytes=5 * GIB), True),
        (worker(memory_total_bytes=8 * GIB, memory_used_bytes=4 * GIB), needs(min_free_memory_bytes=5 * GIB), False),
        (worker(), needs(min_free_memory_bytes=5 * GIB), True),
        (worker(device="cuda:0", memory_total_bytes=8 * GIB, memory_used_bytes=8 * GIB), needs(), False),
        (
            worker(device="cuda:0", memory_total_bytes=GIB, memory_used_bytes=GIB - CUDA_FLOOR_BYTES),
            needs(),
            True,
        ),
        (worker(others_load=0.05), needs(only_when_idle=True), True),
        (worker(others_load=0.5), needs(only_when_idle=True), False),
        (worker(others_load=None), needs(only_when_idle=True), False),
        (worker(others_load=0.5), needs(), True),
        (worker(device="cuda:0", others_load=0.0, memory_others_bytes=2 * GIB), needs(only_when_idle=True), False),
        (worker(others_load=0.0, memory_others_bytes=2 * GIB), needs(only_when_idle=True), True),
    ],
)
def test_what_fits(who: WorkerFacts, wanted: Needs, fits: bool) -> None:
    assert fits_now(who, wanted) is fits


def test_a_machine_is_wanted_back_only_where_more_is_used_than_keeps_a_job_from_starting() -> None:
    between = worker(others_load=0.2)
    assert not fits_now(between, needs(only_when_idle=True))
    assert not is_wanted_back(between)
    assert is_wanted_back(worker(others_load=0.4))
    assert is_wanted_back(worker(device="cuda:0", others_load=0.0, memory_others_bytes=2 * GIB))


@pytest.mark.parametrize(
    ("start", "end", "minute", "is_in"),
    [
        ("09:00", "17:00", 9 * 60, True),
        ("09:00", "17:00", 17 * 60, False),
        ("09:00", "17:00", 8 * 60 + 59, False),
        ("23:00", "07:00", 23 * 60, True),
        ("23:00", "07:00", 3 * 60, True),
        ("23:00", "07:00", 7 * 60, False),
        ("23:00", "07:00", NOON, False),
        ("08:00", "08:00", 3 * 60, True),
    ],
)
def test_hours_of_the_day(start: str, end: str, minute: int, is_in: bool) -> None:
    hours = DailyHours(start=start, end=end)
    assert is_open(hours, minute) is is_in
    assert bool(decided([worker()], [group(needs(hours=hours), 1)], minute)) is is_in


@pytest.mark.parametrize("other", [{"drained": True}, {"stopping": True}, {"version": "0"}, {"job_id": 7}])
def test_some_workers_get_nothing(other: dict[str, Any]) -> None:
    assert decided([worker(**other)], [group(needs(), 1)]) == {}


def test_the_queue_s_order_counts_across_needs() -> None:
    groups = [
        Group(needs=needs("cpu"), places=[(0, 3.0, 3), (0, 4.0, 4)]),
        Group(needs=needs(), places=[(-1, 9.0, 9), (0, 1.0, 1)]),
    ]
    assert decided([worker("a"), worker("b")], groups) == {9: "a", 1: "b"}


def test_a_job_that_fits_nobody_keeps_no_other_back() -> None:
    assert decided([worker("a")], [group(needs("cuda"), 1, 2), group(needs(), 3)]) == {3: "a"}


def test_the_faster_kind_of_device_and_the_worker_that_listens_come_first() -> None:
    slow, fast, deaf = worker("a"), worker("b", "cuda:0"), worker("c", "cuda:1")
    assert decided([slow, fast], [group(needs(), 1)]) == {1: "b"}
    chosen = decide([deaf, slow], [group(needs(), 1)], minute=NOON, last=frozenset({"c"}))
    assert [each.worker for each in chosen] == ["a"]


def test_labels_of_the_worker_and_of_a_person_count() -> None:
    heartbeat = WorkerHeartbeat(
        name="w", host="here", pid=1, device=DeviceStatus(name="cpu"), state="idle", labels=["own"], started_at=0, at=0
    )
    facts = facts_of(heartbeat, labels=frozenset({"given"}))
    assert suits(facts, needs(labels=("own", "given")))
    assert not may_work(facts), "it does not say which version it is"


LABELS = st.frozensets(st.sampled_from(("studio", "big", "quiet")))
MEMORY = st.sampled_from((None, 1 * GIB, 4 * GIB, 8 * GIB))
WORKERS = st.lists(
    st.builds(
        WorkerFacts,
        name=st.text("abcdefgh", min_size=1, max_size=3),
        host=st.just("here"),
        device=st.sampled_from(("cpu", "mps", "cuda:0", "cuda:1")).map(parse_device),
        labels=LABELS,
        drained=st.booleans(),
        job_id=st.one_of(st.none(), st.none(), st.just(5)),
        memory_total_bytes=MEMORY,
        memory_used_bytes=MEMORY,
        others_load=st.sampled_from((None, 0.0, 0.5)),
    ),
    max_size=12,
    unique_by=lambda each: each.name,
)
PLACEMENTS = st.builds(
    Placement,
    labels=LABELS.map(lambda labels: tuple(sorted(labels))),
    min_free_memory_bytes=st.sampled_from((0, 0, 2 * GIB)),
    only_when_idle=st.booleans(),
    hours=st.sampled_from((None, None, DailyHours(start="23:00", end="07:00"))),
)
NEEDS = st.builds(Needs, device=st.sampled_from(("auto", "cpu", "cuda", "cuda:1")), placement=PLACEMENTS)


@st.composite
def queues(draw: st.DrawFn) -> list[Group]:
    wanted = draw(st.lists(NEEDS, max_size=6))
    groups: list[Group] = []
    for number, each in enumerate(wanted):
        order = draw(st.lists(st.tuples(st.sampled_from((-1, 0, 1)), st.floats(0, 100)), min_size=1, max_size=6))
        places = sorted((rank, position, number * 100 + index) for index, (rank, position) in enumerate(order))
        groups.append(Group(needs=each, places=places))
    return groups


@given(workers=WORKERS, groups=queues(), minute=st.integers(0, 24 * 60 - 1))
def test_what_always_holds(workers: list[WorkerFacts], groups: list[Group], minute: int) -> None:
    result = decide(workers, groups, minute=minute)
    by_name = {each.name: each for each in workers}
    of_job = {place[2]: (each, place) for each in groups for place in each.places}
    given_to = {each.job_id: each.worker for each in result}
    assert len({each.worker for each in result}) == len(result), "one job for a device"
    assert len(given_to) == len(result), "one device for a job"
    for job_id, name in given_to.items():
        who, wanted = by_name[name], of_job[job_id][0].needs
        assert may_work(who)
        assert who.job_id is None
        assert fits_now(who, wanted)
        assert is_open(wanted.placement.hours, minute)
    for each in groups:
        served = [place for place in each.places if place[2] in given_to]
        assert served == list(each.places[: len(served)]), "order is kept among equal needs"
    left = [who for who in workers if who.name not in given_to.values() and may_work(who) and who.job_id is None]
    for job_id, (each, _) in of_job.items():
        if job_id not in given_to and is_open(each.needs.placement.hours, minute):
            assert not any(fits_now(who, each.needs) for who in left), "nobody is idle while a job would fit"


@given(workers=WORKERS, groups=queues())
def test_equal_needs_in_one_group_or_in_many_are_decided_alike(workers: list[WorkerFacts], groups: list[Group]) -> None:
    single = [dataclasses.replace(each, places=[place]) for each in groups for place in each.places]
    together = {each.job_id: each.worker for each in decide(workers, groups, minute=0)}
    assert {each.job_id: each.worker for each in decide(workers, single, minute=0)} == together
