"""A day of eight trainings, told to the api in a fiftieth of the time: what it needs, and what it lags behind.

Each training makes 30 steps a second and tells them once a second, or ten times, as often as a trainer ever does; with
an epoch every two minutes, a checkpoint every minute and a preview every ten. All of it goes the way of every event:
reporter, Redis, recorder, record, curves, with a browser's socket on each job. `--seconds` shortens the day, not its
pace: 1,728 s are all of it.

The first tenth tells what an event costs on the disk; the rest has to come to what that predicts. Memory is that of the
api's processes after the first tenth and at the end. Nothing may be left in Redis a moment after the last event.
`api_cores` is the share of a core that the api takes until then: as one process of Python it cannot have more than one.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from sqlalchemy import select

from api.record.database import Database
from api.record.tables import Job
from deploy.redis_server import RedisServer
from shared.events import CheckpointSaved, EpochMetrics, EventBody, PreviewMade, StepMetrics
from shared.lease import Leases
from shared.redis_client import connect
from tests.benchmarks.measuring import Options, Results
from tests.sounds import write_sounds
from tests.system import System
from worker.reporter import StreamReporter
from worker.spool import Spool

JOBS = 8
SPEED = 50.0
DAY_S = 86_400.0
STEPS_A_SECOND = 30
_EVERY_S = {"checkpoint": 60, "epoch": 120, "preview": 600}
_FIRST = 0.1
_SECRET = "only this benchmark knows it"
_TURN_S = 0.1
_PATIENCE_S = 300.0


def measure(options: Options) -> Results:
    """Megabytes, events and seconds."""
    seconds = min(options.seconds, DAY_S / SPEED)
    cases = {"told once a second": 1.0, "told ten times a second": 0.1}
    return {name: _with_redis(options.folder / str(tells_s), seconds, tells_s) for name, tells_s in cases.items()}


def _with_redis(data: Path, seconds: float, tells_s: float) -> dict[str, float]:
    data.mkdir()
    server = RedisServer(data, log=data / "redis.log")
    server.start()
    try:
        return _replay(server.url("api"), data, seconds, tells_s)
    finally:
        server.stop()


def _replay(url: str, data: Path, seconds: float, tells_s: float) -> dict[str, float]:
    with System(data / "data", url, stream_events="100000") as system, ExitStack() as stack:
        system.start_api()
        system.add_dataset("sounds", write_sounds(data / "sounds", 5))
        body = {"kind": "train", "dataset": "sounds", "held": True}
        jobs = [int(system.post("/jobs", body)["id"]) for _ in range(JOBS)]
        database = Database(f"sqlite:///{system.data / 'record.db'}")
        stack.callback(database.close)
        with database.session() as session:  # as if they had begun, so that lists follow what they tell
            for job in session.scalars(select(Job)):
                job.attempt = 1
        redis = stack.enter_context(connect(url))
        for job_id in jobs:
            Leases(redis).grant(job_id, 1, "nobody", _SECRET)
            system.watch(job_id, keep=False)
        reporters = [stack.enter_context(_reporter(url, data, job_id)) for job_id in jobs]
        arbiter = psutil.Process(system.pid("api"))
        processes = [arbiter, *arbiter.children()]

        told, first = 0, (0, 0, 0)
        computed_s = _computed_s(processes)
        ticks = round(seconds * SPEED / tells_s)
        began, largest_redis = time.monotonic(), 0
        for tick in range(1, ticks + 1):
            if tick % round(_TURN_S * SPEED / tells_s) == 0:
                time.sleep(max(0.0, began + tick * tells_s / SPEED - time.monotonic()))
                largest_redis = max(largest_redis, int(redis.info("memory")["used_memory"]))  # pyright: ignore
            for reporter in reporters:
                for event in _events(tick, tells_s):
                    reporter.publish(event)
                    told += 1
            if tick == round(_FIRST * ticks):
                _recorded(database, told)
                first = told, _disk(system.data), _memory(processes)
        published_s = time.monotonic() - began
        lag_s = _recorded(database, told)
        computed_s = _computed_s(processes) - computed_s
        per_event = first[1] / first[0]
        disk = _disk(system.data)
        return {
            "hours_of_the_day": ticks * tells_s / 3600,
            "events": float(told),
            "events_a_second": told / published_s,
            "behind_the_clock_s": published_s - seconds,
            "lag_left_s": lag_s,
            "api_cores": computed_s / (published_s + lag_s),
            "memory_before_mb": first[2] / 1e6,
            "memory_after_mb": _memory(processes) / 1e6,
            "redis_most_mb": largest_redis / 1e6,
            "disk_mb": disk / 1e6,
            "disk_predicted_mb": per_event * told / 1e6,
            "disk_a_day_mb": per_event * (told / ticks) * (DAY_S / tells_s) / 1e6,
        }


def _reporter(url: str, data: Path, job_id: int) -> StreamReporter:
    spool = Spool(data / "spool", job_id=job_id, attempt=1, secret=_SECRET, worker="nobody", limit_bytes=1 << 30)
    return StreamReporter(url, spool, stream_events=100_000, on_fenced=lambda: None, on_steps=lambda: None)


def _events(tick: int, tells_s: float) -> list[EventBody]:
    """What a training tells at that moment of its day."""
    steps = round(STEPS_A_SECOND * tells_s)
    every = {name: round(each / tells_s) for name, each in _EVERY_S.items()}
    step, epoch = tick * steps, 1 + tick // every["epoch"]
    column = [1.0 / (step - index) + 0.123456789 for index in range(steps)]
    names: list[EventBody] = [
        StepMetrics(
            step=list(range(step - steps + 1, step + 1)),
            epoch=[epoch] * steps,
            loss=column,
            reconstruction=column,
            kl=column,
            kl_weight=column,
            learning_rate=column,
            grad_norm=column,
            step_time_s=column,
            total_steps=10_000_000,
        )
    ]
    if tick % every["checkpoint"] == 0:
        newest = [f"1-{step - back * every['checkpoint'] * steps}" for back in range(3)]
        saved = CheckpointSaved(
            name=newest[0], epoch=epoch, step=step, reason="interval", best=True, size_bytes=1, seconds=0.1, kept=newest
        )
        names.append(saved)
    if tick % every["epoch"] == 0:
        metrics = EpochMetrics(
            epoch=epoch, epochs=100_000, step=step, total_steps=10_000_000, train_loss=column[0], elapsed_s=1.0
        )
        names.append(metrics)
    if tick % every["preview"] == 0:
        names.append(PreviewMade(name=f"1-{step}", epoch=epoch, step=step, clips=[], seconds=1.0))
    return names


def _recorded(database: Database, told: int) -> float:
    """Wait until the record has every event; how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE_S:
        with database.reading() as session:
            # The api itself told of each job once.
            recorded = sum(session.scalars(select(Job.last_number)))
        if recorded >= told + JOBS:
            return time.monotonic() - began
        time.sleep(0.1)
    return float("inf")


def _memory(processes: list[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes if process.is_running())


def _computed_s(processes: list[psutil.Process]) -> float:
    """Processor time that they have had, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _disk(data: Path) -> int:
    return sum(path.stat().st_size for path in data.glob("record.db*"))
