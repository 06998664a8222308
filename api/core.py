"""Everything behind the routes, built once per process.

routes -> record -> outbox -> event bus          what people ask for
event bus -> recorder -> record                  what happened
event bus -> relay -> browsers                   the same, at once
scheduler: record <-> workers                    who does what
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import structlog
from redis.exceptions import RedisError

from api.curves.keeper import CurveKeeper
from api.keeping.deletion import Unfinished
from api.metrics.observed import Observed
from api.notify.notifier import Notifier
from api.notify.targets import Targets
from api.outbox import OutboxSender
from api.queue.actions import JobActions
from api.queue.dispatch import Dispatch
from api.queue.scheduler import Scheduler
from api.queue.switch import QueueSwitch
from api.readiness import Readiness
from api.record.database import Database
from api.record.datasets import DatasetRecord
from api.record.jobs import JobRecord
from api.record.write_ahead import WriteBack
from api.recorder import Recorder
from api.relay import Relay
from api.rooms import QUEUE_ROOM
from api.sockets import SocketAccess
from api.views import QueueView, WorkerView
from api.workers.join import JoinedWorkers
from api.workers.registry import Registry
from shared.control import Controls
from shared.errors import StorageError
from shared.event_bus import EventBus
from shared.redis_client import connect
from shared.settings import Settings
from shared.storage import FolderStorage, Storage, open_storage

log = structlog.get_logger(__name__)


class Core:
    """The api's parts, wired together; `start` brings its threads to life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.data.mkdir(parents=True, exist_ok=True)
        self.storage = _open_storage(settings)
        self.database = Database(settings.record_url)
        self.database.migrate()
        self._redis = connect(settings.redis_url)
        self._bus = bus = EventBus(self._redis)
        self.datasets = DatasetRecord(self.database)
        self.jobs = JobRecord(self.database)
        self.actions = JobActions(self.database, self.jobs, Controls(self._redis))
        self.queue = QueueSwitch(self.database, self.queue_changed)
        self.workers = Registry(self.database, bus, push=self._worker_changed)
        self.joined = JoinedWorkers(settings=settings, database=self.database, redis=self._redis)
        self.access = SocketAccess()
        self.deletions = Unfinished()
        self.newest_events = bus.newest
        self.outbox = OutboxSender(self.database, bus)
        self.notifier = Notifier(self.database, Targets(self.database, private=settings.notify_private))
        self.curves = CurveKeeper(self.database)
        self.observed = Observed()
        self.recorder = Recorder(self.database, bus, self._recorded, seen=self.observed.recorded)
        dispatch = Dispatch(
            database=self.database,
            redis=self._redis,
            redis_url=settings.redis_url,
            bus=bus,
            registry=self.workers,
            storage=self.storage,
            changed=self.job_changed,
        )
        self.scheduler = Scheduler(
            database=self.database,
            redis=self._redis,
            bus=bus,
            recorder=self.recorder,
            registry=self.workers,
            dispatch=dispatch,
            lease_s=settings.lease_s,
            changed=self.job_changed,
            shown=self._shown,
        )
        self.relay = Relay(
            redis_url=settings.redis_url,
            jobs=self.jobs,
            newest=bus.newest,
            event_came=self.recorder.came,
            heard=self.workers.heard,
        )
        self.workers.changed = self.scheduler.wake
        self.workers.forget_worker = self.joined.forget_worker
        self.joined.cut_off = self.workers.cut_off
        self.joined.access_ends = self.workers.access_ends
        self.jobs.look = dispatch.look
        self.jobs.changed = self.job_changed
        self.jobs.explain = self.scheduler.explanations.why
        self._parts = (
            *(self.curves, self.recorder, self.outbox, self.workers, self.relay, self.scheduler, self.joined),
            self.access,
            self.deletions,
            self.notifier,
            WriteBack(self.database),
        )
        self.readiness = Readiness(
            redis=self._redis, database=self.database, folders=_folders(settings, self.storage), parts=self._parts
        )

    def start(self) -> None:
        """Start recording, sending, relaying and scheduling."""
        for part in self._parts:
            part.start()
        if isinstance(self.storage, FolderStorage):
            threading.Thread(target=self.storage.sweep, name="sweep", daemon=True).start()

    def stop(self) -> None:
        """Stop in the opposite order; everything unfinished is in the record or in Redis."""
        for part in reversed(self._parts):
            part.stop()
        self._redis.close()
        self.database.close()

    def job_changed(self, job_id: int) -> None:
        """A job's row changed: its event is in the outbox, the queue's watchers and the scheduler want to know."""
        self.scheduler.job_changed(job_id)
        self.outbox.wake()
        self.notifier.wake()
        self.relay.job_changed(job_id)

    def _recorded(self, job_id: int, *, moved: bool) -> None:
        """Events of a job were recorded; its state changed where it `moved`."""
        self.curves.came(job_id)
        if moved:
            self.job_changed(job_id)
        else:
            self.relay.job_changed(job_id)

    def _shown(self, job_id: int) -> None:
        """Why a job waits changed, and nothing in its row."""
        self.relay.job_changed(job_id)

    def _worker_changed(self, view: WorkerView) -> None:
        self.relay.emit("worker", view.model_dump(mode="json"), QUEUE_ROOM)

    def queue_changed(self, view: QueueView) -> None:
        """The queue was paused or let go on."""
        self.relay.emit("queue", view.model_dump(mode="json"), QUEUE_ROOM)
        self.scheduler.wake()

    def dataset_changed(self, dataset_id: int) -> None:
        """A dataset changed."""
        self.relay.emit("dataset", self.datasets.view(dataset_id).model_dump(mode="json"), QUEUE_ROOM)

    def gone(self, kind: Literal["job", "dataset"], number: int) -> None:
        """A job or a dataset was deleted."""
        if kind == "job":
            try:
                self._bus.leave_job(number)
            except RedisError as error:
                log.warning("redis.left", job=number, error=str(error))
        self.relay.emit("gone", {"kind": kind, "id": number}, QUEUE_ROOM)


def _open_storage(settings: Settings) -> Storage:
    if settings.storage_url.startswith(("http://", "https://")):
        raise StorageError(
            "The api hands artifacts out itself, so it needs a store of its own: set SPECTRAIN_STORAGE to a folder or"
            " an s3:// address for it."
        )
    return open_storage(settings.storage_url, cache=settings.store_cache, cache_bytes=settings.cache_bytes)


def _folders(settings: Settings, storage: Storage) -> list[Path]:
    """Where the api writes."""
    return [settings.data, *([storage.root] if isinstance(storage, FolderStorage) else [])]
