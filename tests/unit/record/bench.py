"""A record with one queued training, and what happens to it."""

from __future__ import annotations

from sqlalchemy import select

from api.queue.actions import JobActions
from api.record.attempts import assign, hand_back, record_events, take_back
from api.record.database import Database
from api.record.jobs import JobRecord, NewJob
from api.record.rows import find
from api.record.tables import Dataset, Outbox
from shared.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Event,
    EventBody,
)
from shared.jobs import (
    AttemptSpec,
    Clip,
    DatasetSnapshot,
    JobState,
    Outcome,
    TrainRequest,
    TrainSpec,
)
from shared.presets import resolve_train_config

STARTED = AttemptStarted(worker="here/cpu", device="cpu")


class NoControls:
    """Stands in for Redis' flags: remembers what was wished."""

    def __init__(self) -> None:
        self.wishes: list[tuple[int, int, str]] = []

    def wish(self, job_id: int, attempt: int, wish: str) -> None:
        self.wishes.append((job_id, attempt, wish))

    def ask(self, job_id: int, attempt: int, what: str) -> None:
        self.wishes.append((job_id, attempt, what))


class Bench:
    """A record with one queued training, and what happens to it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.migrate()
        self.record = JobRecord(self.database)
        self.controls = NoControls()
        self.actions = JobActions(self.database, self.record, self.controls)  # pyright: ignore[reportArgumentType]
        clip = Clip(
            sha256="0" * 64,
            name="a.wav",
            num_samples=48_000,
            sample_rate=48_000,
            channels=1,
            format="WAV",
            size_bytes=9,
        )
        with self.database.session() as session:
            session.add(Dataset(id=1, name="drums", created_at=0.0))
        spec = TrainSpec(
            dataset=DatasetSnapshot(dataset_id=1, name="drums", version=1, version_hash="f" * 64, clips=(clip,)),
            train=resolve_train_config(file_count=1, changes={"epochs": 10}),
        )
        self.job_id = self.record.submit(NewJob(name="first", spec=spec, request=TrainRequest(dataset="drums"))).id
        self.number = 0

    def assign_spec(self, above: int = 0) -> AttemptSpec:
        with self.database.session() as session:
            return assign(session, find(session, self.job_id), worker="here/cpu", device="cpu", above=above)

    def assign(self, above: int = 0) -> int:
        return self.assign_spec(above).attempt

    def happen(self, *bodies: EventBody, attempt: int) -> None:
        events: list[Event] = []
        for body in bodies:
            self.number += 1
            events.append(Event(job_id=self.job_id, number=self.number, attempt=attempt, at=100.0, body=body))
        with self.database.session() as session:
            record_events(session, {self.job_id: events})

    def lose(self, reason: str) -> None:
        with self.database.session() as session:
            take_back(session, find(session, self.job_id), reason=reason)

    def hand_back(self, reason: str) -> bool:
        with self.database.session() as session:
            return hand_back(session, find(session, self.job_id), reason=reason)

    @property
    def state(self) -> JobState:
        return self.record.get(self.job_id).state

    @property
    def told(self) -> list[str]:
        """States in the outbox, in order."""
        with self.database.reading() as session:
            return [row.body["state"] for row in session.scalars(select(Outbox).order_by(Outbox.id))]


def checkpoint(step: int, *, kept: list[str], attempt: int = 1, epoch: int = 1) -> CheckpointSaved:
    return CheckpointSaved(
        name=f"{attempt}-{step}",
        epoch=epoch,
        step=step,
        reason="cancel",
        best=False,
        size_bytes=10,
        seconds=0.25,
        kept=kept,
    )


def ended(outcome: Outcome, reason: str = "") -> AttemptEnded:
    return AttemptEnded(outcome=outcome, reason=reason, elapsed_s=5.0)
