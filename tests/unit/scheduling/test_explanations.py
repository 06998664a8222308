"""Why a job waits, in words; and the line that the words are about, kept true to a record of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.queue.explanations import Explanations, Other, Scene
from api.queue.fitting import WorkerFacts
from api.queue.line import Line
from api.record.database import Database
from api.record.tables import Dataset, Job, JobDependency
from shared.devices import parse_device
from shared.jobs import JobState
from shared.placement import DailyHours, Placement, needs_of

GIB = 2**30


class Queue:
    """A record with jobs, the line that reads it, and what is told of it."""

    def __init__(self, path: Path) -> None:
        self.database = Database(f"sqlite:///{path / 'record.db'}")
        self.database.migrate()
        with self.database.session() as session:
            session.add(Dataset(id=1, name="drums", created_at=0.0))
        self.line = Line()
        self.etas: dict[int, float] = {}
        self.explanations = Explanations(self.line, self.others)

    def add(self, device: str = "auto", *, after: Sequence[int] = (), priority: int = 0, **placement: Any) -> int:
        wanted = Placement(**placement)
        with self.database.session() as session:
            job = Job(
                kind="preprocess",
                name="features of drums",
                state="queued",
                dataset_id=1,
                dataset_name="drums",
                spec={},
                wanted_device=device,
                placement=wanted.model_dump(mode="json"),
                needs=needs_of(device, wanted),
                priority=priority,
                position=0.0,
                created_at=0.0,
                queued_at=0.0,
            )
            session.add(job)
            session.flush()
            job.position = float(job.id)
            session.add_all(JobDependency(job_id=job.id, after_id=each) for each in after)
            job_id = job.id
        self.refresh(job_id)
        return job_id

    def set(self, job_id: int, **values: Any) -> None:
        with self.database.session() as session:
            session.execute(update(Job).where(Job.id == job_id).values(**values))
        self.refresh(job_id)

    def refresh(self, *job_ids: int) -> None:
        with self.database.reading() as session:
            self.line.refresh(session, job_ids)

    def others(self, job_ids: Sequence[int]) -> dict[int, Other]:
        with self.database.reading() as session:
            rows = [session.get_one(Job, job_id) for job_id in job_ids]
        return {
            row.id: Other(id=row.id, name=row.name, state=JobState(row.state), eta_s=self.etas.get(row.id))
            for row in rows
        }

    def why(self, job_id: int, *workers: WorkerFacts, came_back: str = "", **scene: Any) -> str:
        self.explanations.see(Scene(workers=workers, **scene))
        return self.explanations.why(job_id, JobState.QUEUED, came_back)

    def ready(self) -> list[int]:
        return sorted(place[2] for group in self.line.groups() for place in group.places)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    yield queue
    queue.database.close()


def worker(name: str = "studio-pc/cpu", device: str = "cpu", labels: tuple[str, ...] = (), **facts: Any) -> WorkerFacts:
    host = name.partition("/")[0]
    return WorkerFacts(name=name, host=host, device=parse_device(device), labels=frozenset(labels), **facts)


def test_the_queue_and_the_clock(queue: Queue) -> None:
    night = queue.add(hours=DailyHours(start="23:00", end="07:00"))
    assert queue.why(night, worker(), minute=720) == "Waits until 23:00."
    assert queue.why(night, worker(), minute=60) == "It starts next."
    assert queue.why(night, worker(), paused=True) == "The queue is paused."
    assert queue.explanations.why(night, JobState.HELD) == "Waits until somebody releases it."
    assert queue.explanations.why(night, JobState.RUNNING, "Its hours ended.") == "Its hours ended."


def test_workers_that_are_not_there(queue: Queue) -> None:
    cuda, labelled, named = queue.add("cuda"), queue.add(labels=("big-gpu",)), queue.add(worker="studio-pc/cpu")
    assert queue.why(cuda) == "Waits for a worker: none is online."
    assert queue.why(cuda, worker()) == "Waits for a worker with cuda: only cpu is online."
    assert queue.why(labelled, worker()) == "No worker that is online has the label big-gpu."
    assert queue.why(named) == "Waits for the worker studio-pc/cpu, which was never seen."
    known = frozenset({"studio-pc/cpu"})
    assert queue.why(named, known=known) == "Waits for the worker studio-pc/cpu, which is offline."
    assert queue.why(named, worker(drained=True)) == "Worker studio-pc/cpu is drained."
    assert "runs Spectrain 0.0.1: update it" in queue.why(named, worker(version="0.0.1"))


def test_who_is_busy_and_for_how_long(queue: Queue) -> None:
    running, first, second = queue.add("cuda"), queue.add("cuda"), queue.add("cuda")
    queue.set(running, state="running")
    queue.etas[running] = 14 * 60.0
    gpu = worker("studio-pc/cuda:0", "cuda:0", job_id=running)
    busy = {gpu.name: running}
    told = f"Needs CUDA; cuda:0 on studio-pc is busy with job {running}, about 14 min"
    assert queue.why(first, gpu, busy=busy) == f"{told}."
    assert queue.why(second, gpu, busy=busy) == f"{told}; 1 job is before it."
    assert queue.why(second, worker("b/cuda:0", "cuda:0")) == "Waits for its turn: 1 job is before it."
    assert queue.why(second, gpu, busy=busy, came_back="Its hours ended.").startswith("Its hours ended. Needs CUDA;")


def test_only_jobs_that_want_the_same_workers_are_before_it(queue: Queue) -> None:
    queue.add("mps")
    queue.add("cpu")
    mine = queue.add("auto")
    assert queue.why(mine, worker()) == "Waits for its turn: 1 job is before it."


def test_other_programs(queue: Queue) -> None:
    big, quiet = queue.add("cuda", min_free_memory_bytes=6 * GIB), queue.add(only_when_idle=True)
    gpu = worker(
        "studio-pc/cuda:0",
        "cuda:0",
        memory_total_bytes=16 * GIB,
        memory_used_bytes=int(12.9 * GIB),
        memory_others_bytes=int(12.9 * GIB),
        others_load=0.0,
    )
    assert queue.why(big, gpu) == (
        "Waits for 6.4 GB of free memory on cuda:0 on studio-pc: 3.3 GB are free, other programs hold 13.9 GB."
    )
    assert queue.why(quiet, worker(others_load=0.8)) == (
        "Waits until the machine is idle: other programs use 80 % of studio-pc."
    )
    assert "other programs hold 13.9 GB of cuda:0" in queue.why(quiet, gpu)
    assert queue.why(quiet, worker()) == "Waits until it is known whether studio-pc is idle."


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("running", "Waits for job 1 (features of drums), which runs."),
        ("queued", "Waits for job 1 (features of drums), which waits itself."),
        ("held", "Waits for job 1 (features of drums), which is held: release it."),
        ("paused", "Waits for job 1 (features of drums), which is paused: resume it."),
        ("failed", "Waits for job 1, which failed: retry it, or have this one not wait for it."),
        ("cancelled", "Waits for job 1, which was cancelled: retry it, or have this one not wait for it."),
        ("completed", "It starts next."),
    ],
)
def test_jobs_that_come_first(queue: Queue, state: str, told: str) -> None:
    first = queue.add()
    second = queue.add(after=[first])
    queue.set(first, state=state)
    assert queue.why(second, worker()) == told
    assert (second in queue.ready()) is (state == "completed")


def test_the_line_follows_the_record(queue: Queue) -> None:
    low, normal, high = queue.add(priority=-1), queue.add(), queue.add(priority=1)
    later = queue.add(after=[normal])
    assert queue.line.first(9) == [high, normal, later, low]
    queue.set(normal, state="completed")
    assert queue.ready() == [low, high, later], "what waited for it is ready"
    queue.set(normal, state="queued")
    assert queue.ready() == [low, normal, high], "it is extended, so what comes after it waits again"
    queue.set(high, state="held")
    queue.set(low, needs=needs_of("mps", Placement()), wanted_device="mps")
    assert {group.needs.device for group in queue.line.groups()} == {"auto", "mps"}
    followed = (queue.ready(), queue.line.first(9))
    with queue.database.reading() as session:
        queue.line.reload(session)
    assert (queue.ready(), queue.line.first(9)) == followed


def test_a_row_that_changed_untold_is_not_given_away(queue: Queue) -> None:
    first, second = queue.add(), queue.add()
    with queue.database.session() as session:
        session.add(JobDependency(job_id=second, after_id=first))
        session.flush()
        assert queue.line.still_waits(session, session.get_one(Job, first))
        assert not queue.line.still_waits(session, session.get_one(Job, second))


def test_a_row_without_a_hash_is_given_one(queue: Queue) -> None:
    job_id = queue.add("cuda:1", labels=("big",))
    queue.set(job_id, needs="")
    [group] = queue.line.groups()
    assert (group.needs.device, group.needs.placement.labels) == ("cuda:1", ("big",))


def test_a_paused_queue_hides_no_other_reason(queue: Queue) -> None:
    plain, cuda = queue.add(), queue.add("cuda")
    assert queue.why(plain, worker(), paused=True) == "The queue is paused."
    told = "The queue is paused. Waits for a worker with cuda: only cpu is online."
    assert queue.why(cuda, worker(), paused=True) == told


def test_jobs_whose_hours_are_closed_are_before_nobody(queue: Queue) -> None:
    queue.add(hours=DailyHours(start="03:00", end="05:00"))
    mine = queue.add()
    assert queue.why(mine, worker(), minute=720) == "It starts next."
    assert queue.why(mine, worker(), minute=200) == "Waits for its turn: 1 job is before it."


def test_memory_that_nobody_has(queue: Queue) -> None:
    huge = queue.add(min_free_memory_bytes=600 * GIB)
    small = worker(memory_total_bytes=24 * GIB, memory_used_bytes=20 * GIB)
    assert queue.why(huge, small) == "No worker that is online has 644.2 GB of memory: 25.8 GB is the most."
    labelled = queue.add(min_free_memory_bytes=100 * GIB, labels=("studio",))
    large = worker("big/cpu", memory_total_bytes=200 * GIB, memory_used_bytes=0)
    mine = worker(labels=("studio",), memory_total_bytes=24 * GIB, memory_used_bytes=0)
    told = "No worker that is online has both the memory and the labels that it asks for."
    assert queue.why(labelled, mine, large) == told


def test_a_worker_goes_by_the_name_that_it_was_given(queue: Queue) -> None:
    running, waiting = queue.add(), queue.add()
    queue.set(running, state="running")
    named = WorkerFacts(name="studio", host="vm", device=parse_device("cpu"), labels=frozenset(), job_id=running)
    told = f"Needs a worker; studio is busy with job {running}."
    assert queue.why(waiting, named, busy={"studio": running}) == told


def test_needs_that_another_version_wrote_hold_nobody_else_up(queue: Queue) -> None:
    newer = queue.add(labels=("big",))
    with queue.database.session() as session:
        session.execute(update(Job).where(Job.id == newer).values(placement={"phase_of_the_moon": "full"}, needs="new"))
    mine = queue.add()
    queue.refresh(newer)
    with queue.database.reading() as session:
        queue.line.reload(session)
    assert queue.ready() == [mine]
    assert "Another version of Spectrain wrote what it needs" in queue.why(newer, worker())
    assert queue.why(mine, worker()) == "It starts next."
