"""Whatever people do to the queue, its order is that of a plain list."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from api.queue.actions import JobActions
from api.queue.edits import JobEdits
from api.queue.submission import Submission
from api.record.database import Database
from api.record.jobs import JobRecord, NewJob
from api.record.rows import PRIORITIES
from api.record.tables import Base, Dataset
from shared.config import FeatureConfig
from shared.control import Controls
from shared.errors import ConfigError
from shared.jobs import Clip, DatasetSnapshot, JobState, PreprocessRequest, PreprocessSpec, Priority
from shared.queue_requests import EditRequest, MoveRequest

CLIP = Clip(
    sha256="0" * 64, name="a.wav", num_samples=48_000, sample_rate=48_000, channels=1, format="WAV", size_bytes=9
)
SPEC = PreprocessSpec(
    dataset=DatasetSnapshot(dataset_id=1, name="drums", version=1, version_hash="f" * 64, clips=(CLIP,)),
    features=FeatureConfig(),
)
PRIORITY = st.sampled_from(list(PRIORITIES))


class Queue(RuleBasedStateMachine):
    """A record beside a list of (job, priority, held), in the order of the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="spectrain-queue-")
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'record.db'}")
        Base.metadata.create_all(self.database.engine)
        with self.database.session() as session:
            session.add(Dataset(id=1, name="drums", created_at=0.0))
        self.record = JobRecord(self.database)
        self.actions = JobActions(self.database, self.record, cast(Controls, None))
        self.edits = JobEdits(
            database=self.database, record=self.record, actions=self.actions, submission=cast(Submission, None)
        )
        self.model: list[tuple[int, Priority, bool]] = []

    @override
    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def chosen(self, data: st.DataObject) -> int | None:
        """Place of a job in the list."""
        return data.draw(st.integers(0, len(self.model) - 1)) if self.model else None

    def insert_last_of(self, job_id: int, priority: Priority, held: bool) -> None:
        place = sum(PRIORITIES[other] >= PRIORITIES[priority] for _, other, _ in self.model)
        self.model.insert(place, (job_id, priority, held))

    @rule(priority=PRIORITY, held=st.booleans())
    def submit(self, priority: Priority, held: bool) -> None:
        request = PreprocessRequest(dataset="drums", priority=priority, held=held)
        self.insert_last_of(self.record.submit(NewJob(name="n", spec=SPEC, request=request)).id, priority, held)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        place, other = self.chosen(data), self.chosen(data)
        if place is None or other is None:
            return
        (job_id, _, held), (before, priority, _) = self.model[place], self.model[other]
        if place == other:
            try:
                self.actions.move(job_id, MoveRequest(before=before))
            except ConfigError:
                return
            raise AssertionError("a job was moved before itself")
        self.actions.move(job_id, MoveRequest(before=before))
        del self.model[place]
        self.model.insert([each for each, _, _ in self.model].index(before), (job_id, priority, held))

    @rule(data=st.data())
    def move_last(self, data: st.DataObject) -> None:
        if (place := self.chosen(data)) is not None:
            job_id, _, held = self.model[place]
            self.actions.move(job_id, MoveRequest(before=None))
            priority = self.model[-1][1]
            del self.model[place]
            self.model.append((job_id, priority, held))

    @rule(data=st.data())
    def next(self, data: st.DataObject) -> None:
        if (place := self.chosen(data)) is not None:
            job_id, _, _ = self.model[place]
            self.actions.next(job_id)
            priority = self.model[0][1]
            del self.model[place]
            self.model.insert(0, (job_id, priority, False))

    @rule(data=st.data(), priority=PRIORITY)
    def prioritise(self, data: st.DataObject, priority: Priority) -> None:
        if (place := self.chosen(data)) is not None:
            job_id, before, held = self.model[place]
            self.edits.edit(job_id, EditRequest(priority=priority))
            if priority != before:
                del self.model[place]
                self.insert_last_of(job_id, priority, held)

    @rule(data=st.data(), held=st.booleans())
    def hold(self, data: st.DataObject, held: bool) -> None:
        if (place := self.chosen(data)) is not None:
            job_id, priority, _ = self.model[place]
            (self.actions.hold if held else self.actions.release)(job_id)
            self.model[place] = (job_id, priority, held)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if (place := self.chosen(data)) is not None:
            self.actions.cancel(self.model[place][0])
            del self.model[place]

    @invariant()
    def the_order_is_that_of_the_list(self) -> None:
        jobs = self.record.list(states=[JobState.QUEUED, JobState.HELD])
        assert [(job.id, job.priority, job.state is JobState.HELD) for job in jobs] == self.model


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
