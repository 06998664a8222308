"""A training that is told rather than run: its events go the way of a trainer's, with the numbers that a test wants."""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from redis import Redis

from shared.event_bus import EventBus
from shared.events import (
    MAX_STEPS_PER_EVENT,
    EpochMetrics,
    Event,
    EventBody,
    PreviewClip,
    PreviewMade,
    StepMetrics,
    finite,
)
from tests.system import System

_AT_ONCE = 16
"""Blocks that are on their way at a time."""
STEPS_PER_EPOCH = 1000

Loss = Callable[[int], float]


def falling(step: int) -> float:
    """A loss as trainings have them."""
    return 0.2 + 3 / (1 + step / 500) + 0.02 * math.sin(step / 7)


class Told:
    """A held job, and what is told of it."""

    def __init__(self, system: System, redis: Redis, *, name: str, dataset: str, **changes: object) -> None:
        self._system = system
        self._bus = EventBus(redis)
        body = {"kind": "train", "dataset": dataset, "name": name, "held": True, "changes": changes}
        self.id = int(system.post("/jobs", body)["id"])
        self._count = 0
        self._wait_recorded(1)

    def counts(self) -> None:
        """Have what is told from now on count as the job's first attempt, for its warnings too: a held job has none."""
        with closing(sqlite3.connect(self._system.data / "record.db", timeout=30)) as record, record:
            record.execute("UPDATE jobs SET attempt = 1 WHERE id = ?", (self.id,))

    def tell(self, bodies: Sequence[EventBody]) -> int:
        """Send events; returns the number of the newest."""
        events = [Event(job_id=self.id, attempt=1, at=time.time(), body=body) for body in bodies]
        last = self._bus.publish(events, writer="told", first_count=self._count + 1, secret=None)
        self._count += len(events)
        return last

    def steps(self, first: int, last: int, *, loss: Loss = falling, size: int = MAX_STEPS_PER_EVENT) -> None:
        """Tell of steps in blocks, and wait until all is recorded."""
        bodies = [block(begin, min(last, begin + size - 1), loss) for begin in range(first, last + 1, size)]
        for begin in range(0, len(bodies), _AT_ONCE):
            self._wait_recorded(self.tell(bodies[begin : begin + _AT_ONCE]))

    def epochs(self, first: int, last: int, *, error: Loss = falling) -> None:
        """Tell of whole epochs, and wait until they are recorded."""
        bodies = [
            EpochMetrics(
                epoch=epoch, epochs=last, step=epoch * STEPS_PER_EPOCH, total_steps=last * STEPS_PER_EPOCH,
                train_loss=error(epoch), val_loss=error(epoch), train_reconstruction=error(epoch),
                val_reconstruction=1.1 * error(epoch), elapsed_s=float(epoch),
            )
            for epoch in range(first, last + 1)
        ]  # fmt: skip
        self._wait_recorded(self.tell(bodies))

    def preview(self, epoch: int, sound: Path, *, original: Path, sample: Path | None = None) -> None:
        """Tell of a preview with one sound, which is in the store, or with a random sample besides."""
        name = f"1-{epoch * STEPS_PER_EPOCH}"
        folder = self._system.data / "store" / "jobs" / str(self.id) / "previews" / name
        folder.mkdir(parents=True)
        shutil.copyfile(sound, folder / "kick.wav")
        shutil.copyfile(original, folder / "kick_original.wav")
        clips = [
            PreviewClip(
                kind="reconstruction", title="kick", audio="kick.wav", original="kick_original.wav", duration_s=8.0
            )
        ]
        if sample is not None:
            shutil.copyfile(sample, folder / "sample_1.wav")
            clips.append(PreviewClip(kind="sample", title="sample 1", audio="sample_1.wav", duration_s=8.0))
        body = PreviewMade(name=name, epoch=epoch, step=epoch * STEPS_PER_EPOCH, clips=clips, seconds=0.1)
        self._wait_recorded(self.tell([body]))

    def _wait_recorded(self, number: int) -> None:
        deadline = time.monotonic() + 60
        # The record says nothing of its own when it took an event in: it is asked.
        while self._system.get(f"/jobs/{self.id}/events?after={2**31 - 1}")["last"] < number:
            assert time.monotonic() < deadline, self._system.log("api")
            time.sleep(0.05)


def block(first: int, last: int, loss: Loss) -> StepMetrics:
    """The steps `first` … `last` as one event."""
    steps = range(first, last + 1)
    losses = [finite(loss(step)) for step in steps]
    return StepMetrics(
        step=list(steps),
        epoch=[1 + (step - 1) // STEPS_PER_EPOCH for step in steps],
        loss=losses,
        reconstruction=losses,
        kl=[1 + 0.1 * math.cos(step / 11) for step in steps],
        kl_weight=[min(1.0, step / 1e5) for step in steps],
        learning_rate=[1e-3 * (0.5 + 0.5 * math.cos(step / 4e5)) for step in steps],
        grad_norm=[0.5 + 0.3 * math.sin(step / 3) for step in steps],
        step_time_s=[0.001] * len(steps),
        total_steps=1_000_000,
    )
