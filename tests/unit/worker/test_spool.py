"""The spool on a real disk: order, torn files, its limit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from shared.event_bus import Entry
from shared.events import CheckpointSaved, Event, EventBody, LogLine, Number, StepMetrics, Warned
from tests.full_disk import full_above
from worker.spool import Spool

PLENTY = 1 << 30


def entry(count: int, body: EventBody | None = None, writer: str = "trainer:2") -> Entry:
    event = Event(job_id=7, attempt=2, at=1.0, body=body or LogLine(message=f"{count} “ü”\n"))
    return Entry(writer=writer, count=count, text=event.to_json())


def steps(first: int, number: int = 100) -> StepMetrics:
    column: list[Number] = [0.123456789] * number
    return StepMetrics(
        step=list(range(first, first + number)),
        epoch=[1] * number,
        loss=column,
        reconstruction=column,
        kl=column,
        kl_weight=column,
        learning_rate=column,
        grad_norm=column,
        step_time_s=column,
        total_steps=10_000,
    )


def make(folder: Path, limit_bytes: int = PLENTY) -> Spool:
    return Spool(folder, job_id=7, attempt=2, secret="s", worker="here/cpu", limit_bytes=limit_bytes)


def drained(spool: Spool) -> list[Entry]:
    entries: list[Entry] = []
    while head := spool.head():
        entries += head
        spool.drop(len(head))
    return entries


def test_what_is_kept_comes_back_in_order_and_leaves_no_file(tmp_path: Path) -> None:
    spool = make(tmp_path)
    assert not spool
    assert spool.head() == []
    given = [entry(1), entry(2), entry(1, writer="supervisor:2")]
    spool.append(given[:1])
    spool.append(given[1:])
    assert spool
    assert spool.path.stat().st_mode & 0o077 == 0, "it holds the attempt's secret"
    assert spool.head() == given[:2], "one writer at a time"
    assert drained(spool) == given
    assert not spool
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_finds_what_an_earlier_one_left(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.append([entry(1), entry(2), entry(3)])
    first.drop(1)
    found = Spool.open(first.path, limit_bytes=PLENTY)
    assert found is not None
    assert (found.job_id, found.attempt, found.secret, found.worker) == (7, 2, "s", "here/cpu")
    # What had been sent already is sent again; its count has Redis pass over it.
    assert drained(found) == [entry(1), entry(2), entry(3)]


@pytest.mark.parametrize("torn_bytes", [1, 5, 40])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, torn_bytes: int) -> None:
    first = make(tmp_path)
    first.append([entry(1), entry(2)])
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-torn_bytes])
    found = make(tmp_path)
    found.append([entry(3)])
    assert drained(found) == [entry(1), entry(3)]


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_line_costs_no_other(tmp_path: Path, damaged: int) -> None:
    first = make(tmp_path)
    given = [entry(number) for number in range(1, 6)]
    first.append(given)
    lines = first.path.read_bytes().splitlines(keepends=True)
    for index in range(2, 2 + damaged):
        lines[index] = b"\0" * (len(lines[index]) - 1) + b"\n"
    first.path.write_bytes(b"".join(lines))
    found = make(tmp_path)
    assert found.head() == [given[0], *given[1 + damaged :]]
    found.drop(2)
    assert found.head() == given[2 + damaged :]
    found.append([entry(6)])
    assert drained(found) == [*given[2 + damaged :], entry(6)]
    assert not found.path.exists()


@pytest.mark.parametrize(
    ("whole", "damaged", "lost"),
    [
        (b'"writer"', b'"wRiter"', 1),
        (b'"count"', b'"c?unt"', 1),
        (b'"message"', b'\x00message"', 1),
        (b"}\n", b"}}", 2),  # two lines became one
        (b"}\n", b"?\n", 1),
    ],
)
def test_a_flipped_bit_costs_what_it_hits_alone(tmp_path: Path, whole: bytes, damaged: bytes, lost: int) -> None:
    first = make(tmp_path)
    given = [entry(number) for number in range(1, 6)]
    first.append(given)
    lines = first.path.read_bytes().splitlines(keepends=True)
    assert whole in lines[2]
    lines[2] = damaged.join(lines[2].rsplit(whole, 1))
    first.path.write_bytes(b"".join(lines))
    found = Spool.open(first.path, limit_bytes=PLENTY)
    assert found is not None
    assert drained(found) == [given[0], *given[1 + lost :]]


@pytest.mark.parametrize("cut", [True, False])
def test_a_file_that_is_lost_while_it_is_used_holds_up_nothing(tmp_path: Path, *, cut: bool) -> None:
    spool = make(tmp_path)
    spool.append([entry(1), entry(2)])
    content = spool.path.read_bytes()
    header = content.index(b"\n") + 1
    spool.path.write_bytes(content[:header] + (b"" if cut else b"\0" * (len(content) - header)))
    assert spool
    assert spool.head() == []
    assert not spool
    spool.append([entry(3)])
    assert drained(make(tmp_path)) == [entry(3)]


def test_damaged_lines_keep_nobody_from_thinning(tmp_path: Path) -> None:
    spool = make(tmp_path, limit_bytes=200_000)
    spool.append([entry(1, steps(1))])
    content = spool.path.read_bytes()
    spool.path.write_bytes(content.replace(b'"loss"', b"\0loss?"))
    number = 1
    while spool.path.stat().st_size < 190_000:
        number += 1
        spool.append([entry(number, steps(100 * number))])
    for _ in range(20):
        number += 1
        spool.append([entry(number, steps(100 * number))])
    assert spool.path.stat().st_size < 200_000


def test_a_file_that_says_nothing_is_no_spool(tmp_path: Path) -> None:
    path = tmp_path / "7-2.jsonl"
    for content in (b"", b"{", b"[]\n", b'{"job_id": 7}\n'):
        path.write_bytes(content)
        assert Spool.open(path, limit_bytes=PLENTY) is None


def test_what_a_full_disk_refused_leaves_no_trace(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append([entry(1)])
    with full_above(spool.path.stat().st_size + 10):
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                spool.append([entry(2), entry(3)])
    spool.append([entry(2), entry(3)])
    assert drained(spool) == [entry(1), entry(2), entry(3)]


def test_a_full_disk_may_refuse_even_the_first_line(tmp_path: Path) -> None:
    spool = make(tmp_path)
    with full_above(10), pytest.raises(OSError, match="File too large"):
        spool.append([entry(1)])
    assert not spool
    assert list(tmp_path.iterdir()) == []
    spool.append([entry(1)])
    found = Spool.open(spool.path, limit_bytes=PLENTY)
    assert found is not None
    assert drained(found) == [entry(1)]


def test_a_file_torn_in_its_first_line_is_begun_anew(tmp_path: Path) -> None:
    path = make(tmp_path).path
    path.write_bytes(b'{"job_id": 7')
    make(tmp_path).append([entry(1)])
    found = Spool.open(path, limit_bytes=PLENTY)
    assert found is not None
    assert drained(found) == [entry(1)]


def test_without_room_for_a_thinner_copy_everything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def refuse(path: Path, _target: Path) -> Path:
        tries.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    limit_bytes = 100_000
    spool = make(tmp_path, limit_bytes)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        for count in range(1, 101):
            spool.append([entry(count, steps(100 * count))])
            assert list(tmp_path.iterdir()) == [spool.path], "no copy is left"
    size = spool.path.stat().st_size
    assert size > 2 * limit_bytes
    assert 1 <= len(tries) <= 8 * (size / limit_bytes - 1) + 1, "not with every event"
    assert len(spool.head()) > 0
    while spool.path.stat().st_size > limit_bytes:
        count += 1
        spool.append([entry(count, steps(100 * count))])
    events = [Event.from_json(each.text).body for each in drained(spool)]
    counted = sum(len(body.step) for body in events if isinstance(body, StepMetrics))
    (warning,) = [body for body in events if isinstance(body, Warned)]
    assert warning.message.startswith(f"The metrics of {count * 100 - counted:,} steps were lost")


def test_beyond_its_limit_step_metrics_are_thinned_and_nothing_else(tmp_path: Path) -> None:
    limit_bytes = 200_000
    spool = make(tmp_path, limit_bytes)
    saved = CheckpointSaved(name="2-9", epoch=1, step=9, reason="interval", best=False, size_bytes=1, seconds=0.1)
    for count in range(1, 201):
        spool.append([entry(count, saved if count % 20 == 0 else steps(100 * count))])
        assert spool.path.stat().st_size <= limit_bytes + 10_000
    events = [Event.from_json(each.text).body for each in drained(spool)]
    assert sum(isinstance(body, CheckpointSaved) for body in events) == 10
    counted = sum(len(body.step) for body in events if isinstance(body, StepMetrics))
    (warning,) = [body for body in events if isinstance(body, Warned)]
    assert warning.message.startswith(f"The metrics of {190 * 100 - counted:,} steps were lost")
    told = [body.step[0] for body in events if isinstance(body, StepMetrics)]
    assert 0 < counted < 19_000
    assert told == sorted(told)
