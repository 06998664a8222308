"""The scheduler with 500 workers, 10,000 waiting jobs and 100,000 finished ones in the record.

The workers are simulated: their heartbeats, claims and ends of attempts go through a real Redis protocol server, as
workers would send them. `decision` is what a round does until the ticket for a worker that became free is sent, the
database included; `first round` gives one to every worker. `list` is both queries of the page, answered as JSON.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import psutil
from celery import Celery
from flask.testing import FlaskClient
from sqlalchemy import Table, insert, select

from api.app import create_app
from api.core import Core
from api.queue import dispatch
from api.queue.reconciler import read_active
from api.record.jobs import NewJob
from api.record.tables import Dataset, Job
from api.serve import settle
from deploy.redis_server import RedisServer
from shared.event_bus import EventBus
from shared.events import AttemptEnded, AttemptStarted, DeviceStatus, Event, WorkerHeartbeat
from shared.jobs import Clip, DatasetSnapshot, JobState, Ticket, TrainRequest, TrainSpec
from shared.lease import Leases
from shared.placement import Placement
from shared.presets import resolve_train_config
from shared.redis_client import connect
from shared.settings import Settings
from shared.tickets import send_ticket
from shared.version import VERSION
from tests.benchmarks.measuring import Options, Results, latencies

_WORKERS: Final = 500
_QUEUED: Final = 10_000
_FINISHED: Final = 100_000
_CLIPS: Final = 200
_ROUNDS: Final = 300
_LISTS: Final = 300
_BATCH: Final = 1_000
_LEASE_S: Final = 600.0
_LIST_QUERIES: Final = (
    "/api/v1/jobs?limit=100&state=starting,running,pausing,cancelling,queued,held,paused",
    "/api/v1/jobs?limit=100&state=completed,cancelled,failed",
)
"""What the page asks for when it is opened."""
_PLACEMENTS: Final = (
    ("auto", Placement()),
    ("cpu", Placement()),
    ("cuda", Placement()),
    ("cuda", Placement(min_free_memory_bytes=4 << 30)),
    ("auto", Placement(labels=("studio",))),
    ("cpu", Placement(labels=("big", "studio"))),
    ("auto", Placement(only_when_idle=True)),
    ("mps", Placement()),
)
"""What the waiting jobs ask for, in turn; nobody has the last."""


def measure(options: Options) -> Results:
    """Milliseconds of rounds and of lists; MiB of this process, which is the api."""
    server = RedisServer(options.folder, log=options.folder / "redis.log")
    server.start()
    core = Core(Settings(data=options.folder / "data", redis_url=server.url("api")))
    try:
        settle()  # as where it is served
        simulation = Simulation(core, server.url("api"))
        submitted_s = simulation.fill()
        began_at = time.perf_counter()
        told = simulation.tell_outbox()
        first_s = simulation.first_round()
        before = _memory_mib()
        rounds = [simulation.round() for _ in range(_ROUNDS)]
        with _client(core) as client:
            listed: list[float] = []
            for _ in range(_LISTS):
                asked_at = time.perf_counter()
                for query in _LIST_QUERIES:
                    assert client.get(query).status_code == 200
                listed.append(time.perf_counter() - asked_at)
        after = _memory_mib()
    finally:
        core.database.close()
        server.stop()
    return {
        "decision": {"ours": latencies(rounds), "workers": _WORKERS, "queued": _QUEUED, "finished": _FINISHED},
        "first round": {"ours": {"s": first_s}},
        "list": {"ours": latencies(listed)},
        "submission of all": {"ours": {"s": submitted_s, "told_s": told - began_at}},
        "memory": {"before_mib": before, "after_mib": after},
    }


class Simulation:
    """Workers without processes, on an api whose threads do not run: every round is called and timed."""

    def __init__(self, core: Core, redis_url: str) -> None:
        self._core = core
        redis = connect(redis_url)
        self._bus, self._leases = EventBus(redis), Leases(redis)
        self._random = random.Random(5)
        self._job_of: dict[str, int | None] = {
            f"host{number}/{'cuda:0' if number % 2 else 'cpu'}": None for number in range(_WORKERS)
        }
        self._beaten_at = float("-inf")
        self._sent_at = 0.0
        dispatch.send_ticket = self._send_ticket

    def _send_ticket(self, app: Celery, worker: str, ticket: Ticket) -> None:
        send_ticket(app, worker, ticket)
        self._sent_at = time.perf_counter()

    def fill(self) -> float:
        """Put all jobs into the record; returns the seconds that the waiting ones took."""
        clips = [_clip(number) for number in range(_CLIPS)]
        with self._core.database.session() as session:
            session.add(Dataset(id=1, name="sounds", created_at=0.0))
        spec = TrainSpec(
            dataset=DatasetSnapshot(dataset_id=1, name="sounds", version=1, version_hash="f" * 64, clips=tuple(clips)),
            train=resolve_train_config(file_count=_CLIPS),
        )
        first = self._submit(spec, 1)
        with self._core.database.session() as session:
            table: Table = Job.__table__  # pyright: ignore[reportAssignmentType]
            row = dict(session.execute(select(table).where(table.c.id == first)).mappings().one())
            del row["id"]
            row |= {"state": JobState.COMPLETED.value, "attempt": 1}
            for start in range(0, _FINISHED, _BATCH):
                ended = [row | {"ended_at": float(start + index)} for index in range(_BATCH)]
                session.execute(insert(table), ended)
        began_at = time.perf_counter()
        for start in range(0, _QUEUED, _BATCH):
            self._submit(spec, min(_BATCH, _QUEUED - start))
        return time.perf_counter() - began_at

    def _submit(self, spec: TrainSpec, count: int) -> int:
        jobs: list[NewJob] = []
        for number in range(count):
            device, placement = _PLACEMENTS[number % len(_PLACEMENTS)]
            request = TrainRequest(dataset="sounds", device=device, placement=placement)
            jobs.append(NewJob(name=f"job {number}", spec=spec, request=request))
        return self._core.jobs.submit_batch(jobs).jobs[0]

    def tell_outbox(self) -> float:
        """Have all events of the submissions published and recorded; returns when that was done."""
        self._core.outbox.work()
        self._core.recorder.work()
        return time.perf_counter()

    def first_round(self) -> float:
        """Give every worker a job; returns the seconds that it took."""
        self._beat(list(self._job_of))
        began_at = time.perf_counter()
        self._core.scheduler.work()
        took_s = time.perf_counter() - began_at
        self._claim()
        assert all(self._job_of.values()), "every worker has a job"
        return took_s

    def round(self) -> float:
        """Let an attempt end and its worker become free; returns the seconds of the round that gives it a job."""
        if time.monotonic() - self._beaten_at > 2.0:
            self._beat(list(self._job_of))
        name = self._random.choice(list(self._job_of))
        ended = self._job_of[name]
        assert ended is not None
        with self._core.database.reading() as session:
            row = session.get_one(Job, ended)
        bodies = (AttemptStarted(worker=name, device=row.device), AttemptEnded(outcome="completed", elapsed_s=1.0))
        events = [Event(job_id=ended, attempt=row.attempt, at=time.time(), body=body) for body in bodies]
        self._bus.publish(events, writer="simulated", first_count=1, secret=row.secret)
        self._core.recorder.drain(ended)
        self._core.outbox.work()
        self._job_of[name] = None
        self._beat([name])
        gc.collect(0)
        self._sent_at = 0.0
        began_at = time.perf_counter()
        self._core.scheduler.work()
        took_s = self._sent_at - began_at
        self._claim()
        assert self._job_of[name] not in (None, ended), "the round gave it a job"
        return took_s

    def _claim(self) -> None:
        """What workers do with their tickets."""
        with self._core.database.reading() as session:
            active = read_active(session)
        for job in active:
            if self._job_of[job.worker] != job.id:
                ticket = Ticket(job_id=job.id, attempt=job.attempt)
                assert self._leases.claim(ticket, job.worker, _LEASE_S)[0] == "claimed"
                self._job_of[job.worker] = job.id
                self._beat([job.worker])

    def _beat(self, names: Sequence[str]) -> None:
        for name in names:
            heartbeat = self._heartbeat(name)
            self._bus.beat(heartbeat)
            self._core.workers.heard(heartbeat)  # as the relay would
        if len(names) == _WORKERS:
            self._beaten_at = time.monotonic()

    def _heartbeat(self, name: str) -> WorkerHeartbeat:
        host, _, device = name.partition("/")
        job_id = self._job_of[name]
        return WorkerHeartbeat(
            name=name,
            host=host,
            pid=os.getpid(),  # which claims in their place
            device=DeviceStatus(name=device, memory_total_bytes=16 << 30, memory_used_bytes=1 << 30),
            state="idle" if job_id is None else "busy",
            job_id=job_id,
            versions={"spectrain": VERSION, "python": "3.11.9", "torch": "2.13.0"},
            labels=["studio", "big"] if host.endswith(("0", "1")) else ["studio"],
            others_load=0.02,
            started_at=0.0,
            at=time.time(),
        )


@contextmanager
def _client(core: Core) -> Generator[FlaskClient]:
    app, _ = create_app(core)
    yield app.test_client()


def _clip(number: int) -> Clip:
    return Clip(
        sha256=f"{number:064x}",
        name=f"sounds/sound {number}.wav",
        num_samples=48_000,
        sample_rate=48_000,
        channels=1,
        format="WAV PCM_16",
        size_bytes=96_044,
    )


def _memory_mib() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20
