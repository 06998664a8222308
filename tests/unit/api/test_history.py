"""The curves of a training over HTTP: nothing lost, nothing doubled, whatever was kept of them when."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from api.curves import keeper
from api.curves.buckets import METRICS, Buckets
from api.record.rows import find
from api.record.tables import Job, JobEvent, StepChunk, StepCurve
from shared.events import EpochMetrics, Event, EventBody, LogLine, StepMetrics
from tests.unit.api.conftest import TwinCore

ON_BOTH_DATABASES = True
pytestmark = pytest.mark.usefixtures("drums")


class Training:
    """A job whose trainer sends events, and every step as it should be seen."""

    def __init__(self, core: TwinCore, client: FlaskClient) -> None:
        self.core, self.client = core, client
        self.id = int(client.post("/api/v1/jobs", json={"kind": "train", "dataset": "drums"}).get_json()["id"])
        self.number = 0
        self.truth: dict[int, tuple[int, float | None]] = {}
        """Attempt and loss by step."""

    def record(self, attempt: int, *bodies: EventBody) -> None:
        """Put events into the record as the recorder does."""
        rows = list[dict[str, Any]]()
        for body in bodies:
            self.number += 1
            dump = Event(job_id=self.id, number=self.number, attempt=attempt, at=self.number * 10.0, body=body)
            rows.append(dump.model_dump(mode="json") | {"type": body.type})
        with self.core.database.session() as session:
            session.execute(insert(JobEvent), rows)
            find(session, self.id).last_number = self.number

    def steps(self, attempt: int, first: int, last: int, *, size: int = 1000, **losses: float | None) -> None:
        """An attempt does the steps `first` … `last`; `s7=None` says what loss step 7 has."""
        bodies = list[EventBody]()
        for begin in range(first, last + 1, size):
            numbers = list(range(begin, min(last, begin + size - 1) + 1))
            loss = [losses.get(f"s{step}", attempt + 1 / step) for step in numbers]
            bodies.append(metrics(numbers, loss))
            newer = [step for step, (by, _) in self.truth.items() if by > attempt]
            if newer:
                continue
            for step in [step for step in self.truth if step >= begin]:
                del self.truth[step]
            self.truth |= {step: (attempt, value) for step, value in zip(numbers, loss, strict=True)}
        self.record(attempt, *bodies)

    def history(self, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/jobs/{self.id}/history", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    def expect_truth(self, **query: Any) -> dict[str, Any]:
        """The answer, after every bucket of it was compared with the steps themselves."""
        answer = self.history(**query)
        stride, loss = answer["stride"], answer["loss"]
        first, last = query.get("first", 1), query.get("last") or max(self.truth)
        wanted = dict[int, list[int]]()
        for step in sorted(self.truth):
            if (first - 1) // stride <= (step - 1) // stride <= (last - 1) // stride:
                wanted.setdefault((step - 1) // stride, []).append(step)
        if stride == 1:
            wanted = {key: steps for key, steps in wanted.items() if first <= steps[0] <= last}
        if 1 < stride < 16:  # those come from the steps themselves, cut where the range is
            wanted = {key: [s for s in steps if first <= s <= last] for key, steps in wanted.items()}
        assert answer["step"] == [steps[-1] for steps in wanted.values()]
        for index, steps in enumerate(wanted.values()):
            values = [self.truth[step][1] for step in steps]
            finite = [value for value in values if value is not None]
            assert loss["last"][index] == (values[-1] if len(finite) == len(values) else None)
            if stride > 1:
                assert loss["min"][index] == min(finite, default=None)
                assert loss["max"][index] == max(finite, default=None)
        return answer

    def kept_number(self) -> int:
        """Newest event that is kept in chunks."""
        with self.core.database.reading() as session:
            row = session.get(StepCurve, self.id)
            return row.number if row else 0


def metrics(step: list[int], loss: list[float | None]) -> StepMetrics:
    ones: list[float | None] = [1.0] * len(step)
    return StepMetrics(
        step=step,
        epoch=[1 + number // 1000 for number in step],
        loss=loss,
        reconstruction=ones,
        kl=ones,
        kl_weight=ones,
        learning_rate=ones,
        grad_norm=ones,
        step_time_s=ones,
        total_steps=100_000,
    )


@pytest.fixture
def training(core: TwinCore, client: FlaskClient) -> Training:
    return Training(core, client)


def test_a_short_training_is_there_step_by_step(training: Training) -> None:
    training.steps(1, 1, 500, size=7)
    answer = training.expect_truth()
    assert answer["stride"] == 1
    assert answer["last"] == training.number
    assert answer["newest_step"] == 500
    assert answer["loss"]["min"] == []


def test_a_spike_and_a_gap_survive_however_coarse_the_answer(training: Training) -> None:
    training.steps(1, 1, 20_000, s777=1e9, s9000=-5.0, s15000=None)
    for buckets in (2, 10, 100, 1000, 4000):
        loss = training.expect_truth(buckets=buckets)["loss"]
        assert max(value for value in loss["max"] if value is not None) == 1e9
        assert min(value for value in loss["min"] if value is not None) == -5.0
        assert loss["last"].count(None) == 1


def test_a_range_is_as_fine_as_it_can_be_down_to_single_steps(training: Training) -> None:
    training.steps(1, 1, 20_000, size=37, s4097=None)
    for first, last, stride in ((4000, 4200, 1), (1, 3000, 4), (4090, 20_000, 16), (300, 301, 1), (19_999, 10**9, 1)):
        query = {"first": first, "last": last}
        assert training.expect_truth(**query)["stride"] == stride, query


def test_what_a_resumed_attempt_repeats_replaces_what_was(training: Training) -> None:
    training.steps(1, 1, 10_000)
    training.steps(2, 5003, 9000, size=11)
    training.steps(1, 10_001, 10_100)  # the old attempt did not know that it was over
    training.steps(3, 4097, 12_000)
    training.steps(4, 4100, 4100)
    assert training.expect_truth(buckets=100)["newest_step"] == 4100
    training.expect_truth(first=4000)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_kept_when_the_answer_is_the_same(
    training: Training, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Attempts of any length with any blocks, kept up now and then, and once made anew."""
    chance = random.Random(seed)
    monkeypatch.setattr(keeper, "_BEHIND", chance.choice([1, 5, 10**6]))
    monkeypatch.setattr(keeper, "_STEPS_AT_ONCE", chance.choice([1, 3000, 10**6]))
    attempt, newest = 1, 0
    for _ in range(8):
        if newest and chance.random() < 0.3:
            attempt += 1
            newest = max(0, newest - chance.choice([0, 3, 16, 500, 5000]))
        first, newest = newest + 1, newest + chance.choice([1, 16, 700, 4096, 6000])
        hurt = {f"s{chance.randint(first, newest)}": chance.choice([None, 1e6]) for _ in range(3)}
        training.steps(attempt, first, newest, size=chance.choice([13, 512, 4096]), **hurt)
        training.record(attempt, LogLine(message="between"))
        if chance.random() < 0.4:
            training.core.curves.keep(training.id)
            assert training.kept_number() == training.number
        end = max(training.truth)
        ranges = [sorted(chance.randint(1, end) for _ in range(2)) for _ in range(2)]
        for low, high in [[1, end], *ranges]:
            training.expect_truth(first=low, last=high, buckets=chance.choice([2, 50, 1024]))
    with training.core.database.session() as session:
        session.execute(delete(StepCurve))
        session.execute(delete(StepChunk))
    assert training.expect_truth(buckets=64)["last"] == training.number


def test_a_slow_training_tells_of_a_few_steps_at_a_time(training: Training) -> None:
    training.steps(1, 1, 101, size=3, s20=None, s33=9.0, s34=-9.0)
    training.core.curves.keep(training.id)
    training.steps(1, 102, 120, size=1)
    training.steps(2, 43, 140, size=5, s139=None)
    training.record(1, metrics([141, 142], [7.0, 7.0]))
    training.steps(2, 141, 150, size=2)
    for _ in range(2):
        assert training.expect_truth(buckets=8)["stride"] == 32
        training.expect_truth(buckets=16, first=20, last=139)
        training.expect_truth()
        training.core.curves.keep(training.id)
        assert training.kept_number() == training.number


def test_a_job_that_is_far_ahead_is_kept_up_in_the_background(training: Training) -> None:
    curves = training.core.curves
    training.steps(1, 1, 100)
    curves.came(training.id)
    curves.work()
    assert training.kept_number() == 0, "an answer reads so little by itself"
    training.steps(1, 101, 1000, size=2)
    curves.came(training.id)
    curves.work()
    assert training.kept_number() == training.number
    training.steps(1, 1001, 40_000, size=4096)
    curves.came(training.id)
    curves.work()
    assert training.kept_number() == training.number, "few events may be much"
    with training.core.database.session() as session:
        session.execute(delete(JobEvent))
        session.execute(delete(Job))
    with training.core.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(StepChunk)) == 0, "chunks go with their job"


def test_others_need_not_wait_while_chunks_are_made(
    training: Training, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.steps(1, 1, 10_000)
    writing = list[bool]()
    while_packing = list[int]()
    session, pack = core.database.session, Buckets.pack

    @contextmanager
    def noted() -> Generator[Session]:
        with session() as opened:
            writing.append(True)
            yield opened
            writing.pop()

    def packed(buckets: Buckets) -> bytes:
        while_packing.append(len(writing))
        return pack(buckets)

    monkeypatch.setattr(core.database, "session", noted)
    monkeypatch.setattr(Buckets, "pack", packed)
    core.curves.keep(training.id)
    assert training.kept_number() == training.number
    assert while_packing
    assert not any(while_packing)


def test_a_job_that_cannot_be_kept_keeps_no_other_from_it(core: TwinCore, client: FlaskClient) -> None:
    broken, whole = Training(core, client), Training(core, client)
    assert broken.id < whole.id
    for training in (broken, whole):
        training.steps(1, 1, 2000, size=2)
        core.curves.came(training.id)
    with core.database.session() as session:
        event = session.get_one(JobEvent, (broken.id, broken.number))
        body, event.body = event.body, {}
    with pytest.raises(KeyError):
        core.curves.work()
    assert whole.kept_number() == whole.number
    with core.database.session() as session:
        session.get_one(JobEvent, (broken.id, broken.number)).body = body
    core.curves.work()
    assert broken.kept_number() == broken.number, "it is tried again"


def epochs(*numbers: int) -> list[EventBody]:
    return [
        EpochMetrics(
            epoch=number, epochs=3, step=number * 10, total_steps=30, train_loss=1.0, elapsed_s=1.0,
            kl_per_dimension=[0.5] * 4,
        )
        for number in numbers
    ]  # fmt: skip


def test_epochs_that_are_repeated_count_once(training: Training) -> None:
    training.record(1, *epochs(1, 2, 3, 4))
    training.record(2, *epochs(3))
    training.record(1, *epochs(5))  # the old attempt did not know that it was over
    table = training.client.get(f"/api/v1/jobs/{training.id}/epochs.csv").text
    for seen in (training.history()["epochs"], list(csv.DictReader(io.StringIO(table)))):
        assert [int(epoch["epoch"]) for epoch in seen] == [1, 2, 3]
    training.record(2, *epochs(4, 5))
    assert [epoch["epoch"] for epoch in training.history()["epochs"]] == [1, 2, 3, 4, 5]


def test_epochs_are_whole(training: Training) -> None:
    training.record(1, *epochs(1, 2, 3))
    seen = training.history()["epochs"]
    assert [epoch["epoch"] for epoch in seen] == [1, 2, 3]
    assert [len(epoch["kl_per_dimension"]) for epoch in seen] == [0, 0, 4]
    assert training.history(epochs=False)["epochs"] == []
    table = training.client.get(f"/api/v1/jobs/{training.id}/epochs.csv").text
    assert [row["step"] for row in csv.DictReader(io.StringIO(table))] == ["10", "20", "30"]


def test_a_job_without_steps_has_an_empty_history(training: Training) -> None:
    answer = training.history()
    assert (answer["step"], answer["newest_step"], answer["last"], answer["epochs"]) == ([], 0, 0, [])
    training.steps(1, 1, 10)
    assert training.history(first=11)["step"] == []


def test_the_table_has_every_step_that_counts(training: Training) -> None:
    training.steps(1, 1, 20_000, s17=None)
    training.steps(2, 18_000, 21_000)
    answer = training.client.get(f"/api/v1/jobs/{training.id}/steps.csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["step"]) for row in rows] == list(range(1, 21_001))
    assert rows[16]["loss"] == ""
    for row in rows:
        wanted = training.truth[int(row["step"])][1]
        assert wanted is None or math.isclose(float(row["loss"]), wanted, rel_tol=0, abs_tol=0)
    assert set(METRICS) < set(rows[0])


def test_a_history_of_nothing_and_of_nonsense(client: FlaskClient) -> None:
    assert client.get("/api/v1/jobs/99/history").status_code == 404
    assert client.get("/api/v1/jobs/99/steps.csv").status_code == 404
    for query in ("first=0", "buckets=1", "buckets=100000", "last=x", "unknown=1"):
        assert client.get(f"/api/v1/jobs/1/history?{query}").status_code == 422, query
