"""The supervisor: claims what a ticket names, has a trainer process do it, and answers for how it ends.

While an attempt runs, `lease_keeper` holds its lease and `watch` its limits; `exits` says in plain words how it ended.
A crash of the trainer never takes the worker down. One thread does all of it; the trainer processes are its children.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from pydantic import ValidationError
from redis import Redis

from shared.devices import Device
from shared.errors import LeaseLostError
from shared.event_bus import Entry, EventBus
from shared.events import AttemptEnded, Event
from shared.jobs import AttemptSpec, Ticket
from shared.lease import Leases
from shared.logs import carry
from shared.redis_client import connect
from shared.settings import Settings
from worker.exits import classify, count_memory_kills
from worker.keep_awake import kept_awake
from worker.lease_keeper import LeaseKeeper
from worker.neighbours import cpu_threads, thread_environment
from worker.reporter import Sender
from worker.spool import Spool
from worker.trainer_process import TrainerProcess
from worker.watch import TICK_S, Watch

_RETRY_S: Final = 0.5
_PARTING_S: Final = 2.0
"""A worker that stops tries for so long to tell how its attempt ended, before it leaves that to the next one."""

log = structlog.get_logger(__name__)


class Supervisor:
    """Runs the attempts of one device, one at a time."""

    def __init__(self, *, settings: Settings, device: Device, worker: str, redis: Redis | None = None) -> None:
        self._settings = settings
        self._device = device
        self._worker = worker
        self._redis = redis or connect(settings.redis_url)
        self._leases = Leases(self._redis)
        self._bus = EventBus(self._redis)
        self._inbox: SimpleQueue[AttemptSpec] = SimpleQueue()
        self._accepting = threading.Lock()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._warm: TrainerProcess | None = None
        self.job_id: int | None = None
        """The job at hand, or None."""
        self.lease_renewals = 0
        """How often leases were renewed since the start."""
        self.failure: Exception | None = None
        """What ended the thread, if anything did: the worker has to end then, too."""
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def start(self) -> None:
        """Start the thread; returns when the first trainer process is starting.

        Raises what kept it from starting, such as a ConfigError for a device that this machine does not have.
        """
        self._thread.start()
        self._ready.wait()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Have the attempt at hand saved and handed back; `join` waits for it."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the last trainer process is gone."""
        if self._thread.is_alive():
            self._thread.join()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    @property
    def threads(self) -> int | None:
        """Threads that a trainer computes with on the processor; None where torch decides."""
        return cpu_threads(self._settings, self._device)

    def accept(self, ticket: Ticket) -> str:
        """Claim what `ticket` names and hand it to the thread; returns at once, with what came of it.

        Anything but "claimed" means that the ticket is old, doubled or unwanted: it is dropped, and the scheduler's
        reconciler makes a new one where one is owed. Raises redis.RedisError while Redis is away.
        """
        with self._accepting:
            if self._stopping.is_set() or self.job_id is not None:
                return "busy"
            try:
                result, attempt = self._leases.claim(ticket, self._worker, self._settings.lease_s)
            except ValidationError:
                # Another version wrote it. The lease lapses, and the job goes to somebody else.
                log.exception("ticket.unreadable", job=ticket.job_id, attempt=ticket.attempt)
                return "unreadable"
            if attempt is not None:
                self.job_id = ticket.job_id
                self._inbox.put(attempt)
            return result

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            log.exception("supervisor.failed")
            self.failure = error
            starting = not self._ready.is_set()
            self._stopping.set()
            self._ready.set()
            if not starting:
                # Celery's consumer in the main thread would go on taking tickets that nobody serves.
                os.kill(os.getpid(), signal.SIGTERM)

    def _serve(self) -> None:
        self._warm = self._spawn()
        self._ready.set()
        while not self._stopping.is_set():
            try:
                attempt = self._inbox.get(timeout=TICK_S)
            except Empty:
                if self._warm.exit_status is not None:
                    log.warning("trainer.died_idle", status=self._warm.join(), output=self._warm.tail)
                    self._stopping.wait(2.0)  # a trainer that cannot start must not be started in a tight loop
                    self._warm = self._spawn()
                continue
            carry(job=attempt.job_id, attempt=attempt.attempt)
            self._run_attempt(attempt, self._warm)
            carry(job=None, attempt=None)
            self.job_id = None
            if not self._stopping.is_set():
                self._warm = self._spawn()
        self._warm.kill()
        self._warm.join()
        with self._accepting:
            # What was claimed in the last moment never began: it goes straight back.
            if not self._inbox.empty():
                self._tell(self._inbox.get(), AttemptEnded(outcome="handed_back"))

    def _spawn(self) -> TrainerProcess:
        return TrainerProcess(
            device=self._device,
            environment={
                **thread_environment(self.threads),
                "SPECTRAIN_DEVICE": self._device.name,
                "SPECTRAIN_WORKER": self._worker,
                "REDIS_URL": self._settings.redis_url,
                "SPECTRAIN_DATA": str(self._settings.data),
                "SPECTRAIN_STORAGE": self._settings.storage_url,
                "SPECTRAIN_TOKEN": self._settings.token,
                "SPECTRAIN_CACHE_BYTES": str(self._settings.cache_bytes),
            },
        )

    def _run_attempt(self, attempt: AttemptSpec, trainer: TrainerProcess) -> None:
        log.info("attempt.started", pid=trainer.pid)
        keeper = LeaseKeeper(
            self._redis,
            attempt,
            worker=self._worker,
            lease_s=self._settings.lease_s,
            on_renewed=self._count_renewal,
        )
        watch = Watch(attempt, trainer, keeper, settings=self._settings, stopping=self._stopping)
        memory_kills = count_memory_kills() or 0
        with keeper:
            with kept_awake(trainer.pid):
                trainer.begin(attempt, threads=self.threads)
                status = watch.follow()
            ended = classify(
                status,
                result=trainer.result,
                tail=trainer.tail,
                began=bool(trainer.phase),
                killed_because=watch.killed_because,
                wish=watch.wish,
                why=watch.why,
                fenced=keeper.lost,
                memory_kills=(count_memory_kills() or 0) - memory_kills,
                elapsed_s=watch.elapsed_s,
            )
            if ended.outcome == "crashed":
                log.error("attempt.ended", outcome=ended.outcome, error=ended.reason)
            else:
                log.info("attempt.ended", outcome=ended.outcome, reason=ended.reason)
            self._tell(attempt, ended)

    def _count_renewal(self) -> None:
        self.lease_renewals += 1

    def _tell(self, attempt: AttemptSpec, ended: AttemptEnded) -> None:
        """Publish what the trainer left and how it ended, as often as it takes; when stopping, the spool keeps it."""
        spool = Spool.of(self._settings, attempt, worker=self._worker)
        if ended.outcome == "fenced":
            spool.remove()  # the newer attempt does it all again
            return
        event = Event(job_id=attempt.job_id, attempt=attempt.attempt, at=time.time(), body=ended)
        sender = Sender(self._bus, spool, stream_events=self._settings.stream_events)
        sender.add(Entry(writer=f"supervisor:{attempt.attempt}", count=1, text=event.to_json()))
        deadline, told = math.inf, False
        while sender:
            try:
                sender.send()
            except LeaseLostError:
                spool.remove()
                return  # a newer attempt owns the job: nobody asks any more how this one ended
            if not sender.trouble:
                continue
            if not told:
                log.warning("attempt.end_waiting", job=attempt.job_id, error=sender.trouble)
                told = True
            if self._stopping.is_set():
                deadline = min(deadline, time.monotonic() + _PARTING_S)
            if time.monotonic() > deadline:
                sender.keep()
                return
            time.sleep(_RETRY_S)
