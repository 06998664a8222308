"""The supervisor: claims what a ticket names, has a trainer process do it, and answers for how it ends.

It renews the lease only while the trainer makes progress, ends a trainer that is stuck, that does not stop in its
grace time, or whose job went to a newer attempt, and says in plain words how each attempt ended. A crash of the trainer
never takes the worker down. One thread does all of it; the trainer processes are its children.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

import structlog
from redis import Redis
from redis.exceptions import RedisError

from shared.control import Controls
from shared.devices import Device
from shared.errors import LeaseLostError
from shared.event_bus import EventBus
from shared.events import AttemptEnded, Event
from shared.jobs import AttemptSpec, Outcome, Ticket
from shared.lease import Leases
from shared.redis_client import connect
from shared.settings import Settings
from shared.tickets import forget_attempt, get_attempt
from worker.trainer_process import FENCED_EXIT, TrainerProcess

_TICK_S: Final = 0.25
_HARD_GRACE: Final = 20
"""A trainer that keeps making progress but never ends is killed after so many grace times. A checkpoint may travel over
a slow line for minutes, and it makes progress then."""
_SIGNALS: Final[Mapping[int, str]] = {
    signal.SIGKILL: "was killed by the system, most likely because memory ran out",
    signal.SIGSEGV: "crashed with a segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "crashed with a bus error",
    signal.SIGILL: "used an instruction that this processor does not have",
    signal.SIGFPE: "crashed with an arithmetic fault",
}

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class _Watch:
    """What the supervisor remembers while an attempt runs."""

    started: float
    beats: int = 0
    progressed: float = 0.0
    renewed: float = 0.0
    looked: float = 0.0
    told_to_stop: float | None = None
    wish: str = "none"
    killed_because: str = ""
    fenced: bool = False


class Supervisor:
    """Runs the attempts of one device, one at a time."""

    def __init__(self, *, settings: Settings, device: Device, worker: str, redis: Redis | None = None) -> None:
        self._settings = settings
        self._device = device
        self._worker = worker
        self._redis = redis or connect(settings.redis_url)
        self._leases = Leases(self._redis)
        self._controls = Controls(self._redis)
        self._bus = EventBus(self._redis)
        self._inbox: SimpleQueue[AttemptSpec] = SimpleQueue()
        self._accepting = threading.Lock()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._warm: TrainerProcess | None = None
        self.job_id: int | None = None
        """The job at hand, or None."""
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
        self._thread.join()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def accept(self, ticket: Ticket) -> str:
        """Claim what `ticket` names and hand it to the thread; returns at once, with what came of it.

        Anything but "claimed" means that the ticket is old, doubled or unwanted: it is dropped, and the scheduler's
        reconciler makes a new one where one is owed. Raises redis.RedisError while Redis is away.
        """
        with self._accepting:
            if self._stopping.is_set() or self.job_id is not None:
                return "busy"
            attempt = get_attempt(self._redis, self._worker, ticket)
            if attempt is None:
                return "stale"
            result = self._leases.claim(
                ticket.job_id, ticket.attempt, self._worker, attempt.secret, self._settings.lease_s
            )
            if result == "claimed":
                self.job_id = ticket.job_id
                self._inbox.put(attempt)
                with suppress(RedisError):  # else it goes by itself, later
                    forget_attempt(self._redis, self._worker, ticket.job_id)
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
                attempt = self._inbox.get(timeout=_TICK_S)
            except Empty:
                if self._warm.exit_status is not None:
                    log.warning("trainer.died_idle", status=self._warm.join(), output=self._warm.tail)
                    self._stopping.wait(2.0)  # a trainer that cannot start must not be started in a tight loop
                    self._warm = self._spawn()
                continue
            self._run_attempt(attempt, self._warm)
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
        log.info("attempt.started", job=attempt.job_id, attempt=attempt.attempt, pid=trainer.pid)
        now = time.monotonic()
        watch = _Watch(started=now, progressed=now, renewed=now)
        trainer.begin(attempt)
        while trainer.exit_status is None:
            trainer.changed.wait(_TICK_S)
            trainer.changed.clear()
            self._look_after(attempt, trainer, watch)
        status = trainer.join()
        ended = _classify(status, trainer, watch)
        log.info("attempt.ended", job=attempt.job_id, attempt=attempt.attempt, outcome=ended.outcome)
        if ended.outcome != "fenced":
            self._tell(attempt, ended)

    def _look_after(self, attempt: AttemptSpec, trainer: TrainerProcess, watch: _Watch) -> None:
        """Renew the lease, pass on a wish to stop, enforce the limits."""
        now = time.monotonic()
        if trainer.beats != watch.beats:
            watch.beats, watch.progressed = trainer.beats, now
        stall_s = self._settings.stall_s if trainer.phase == "steps" else self._settings.setup_stall_s
        if watch.told_to_stop is None and now - watch.progressed > stall_s:
            watch.killed_because = f"made no progress for {stall_s:.0f} s, so it was stopped"
            trainer.kill()
            return
        if not watch.killed_because and now - watch.renewed >= self._settings.lease_s / 6:
            self._renew(attempt, trainer, watch)
        if now - watch.looked >= _TICK_S:
            watch.looked = now
            self._look_for_wish(attempt, trainer, watch)
        if watch.told_to_stop is not None:
            grace = self._settings.grace_s
            quiet_s, told_s = now - max(watch.told_to_stop, watch.progressed), now - watch.told_to_stop
            if quiet_s > grace or told_s > grace * _HARD_GRACE:
                watch.killed_because = f"did not save within {grace:.0f} s, so it was stopped"
                trainer.kill()

    def _renew(self, attempt: AttemptSpec, trainer: TrainerProcess, watch: _Watch) -> None:
        try:
            held = self._leases.renew(
                attempt.job_id, attempt.attempt, self._worker, attempt.secret, self._settings.lease_s
            )
        except RedisError as error:
            log.warning("lease.unreachable", job=attempt.job_id, error=str(error))
            return  # the trainer goes on; if the lease lapsed, the next renewal or event finds out
        watch.renewed = time.monotonic()
        if not held:
            watch.fenced = True
            trainer.kill()

    def _look_for_wish(self, attempt: AttemptSpec, trainer: TrainerProcess, watch: _Watch) -> None:
        if watch.told_to_stop is not None:
            return
        if self._stopping.is_set():
            watch.wish, watch.told_to_stop = "shutdown", time.monotonic()
            trainer.shut_down()
            return
        try:
            wish = self._controls.read(attempt.job_id, attempt.attempt).wish
        except RedisError:
            return  # the trainer's own mirror reads it as soon as Redis is back, and so do we
        if wish != "none":
            watch.wish, watch.told_to_stop = wish, time.monotonic()

    def _tell(self, attempt: AttemptSpec, ended: AttemptEnded) -> None:
        """Publish how the attempt ended, as often as it takes; while stopping, no longer than the grace time."""
        event = Event(job_id=attempt.job_id, attempt=attempt.attempt, at=time.time(), body=ended)
        deadline: float | None = None
        while True:
            try:
                self._bus.publish([event], writer=f"supervisor:{attempt.attempt}", first_count=1, secret=attempt.secret)
            except LeaseLostError:
                return  # a newer attempt owns the job: nobody asks any more how this one ended
            except RedisError as error:
                log.warning("attempt.end_waiting", job=attempt.job_id, error=str(error))
                if self._stopping.is_set():
                    deadline = deadline or time.monotonic() + self._settings.grace_s
                    if time.monotonic() > deadline:
                        return  # the lease lapses, and the reaper takes the attempt back
                time.sleep(0.5)
            else:
                return


def _classify(status: int, trainer: TrainerProcess, watch: _Watch) -> AttemptEnded:
    """How an attempt ended, from the process' exit status, its last word and what was done to it."""
    elapsed_s = time.monotonic() - watch.started
    if watch.fenced or status == FENCED_EXIT:
        return AttemptEnded(outcome="fenced", elapsed_s=elapsed_s)
    if watch.killed_because:
        outcomes: dict[str, Outcome] = {
            "cancel": "cancelled",
            "pause": "paused",
            "hand_back": "handed_back",
            "shutdown": "handed_back",
        }
        return AttemptEnded(
            outcome=outcomes.get(watch.wish, "crashed"),
            reason=f"The trainer {watch.killed_because}.",
            detail=trainer.tail,
            elapsed_s=elapsed_s,
        )
    if trainer.result is not None and status == 0:
        result: dict[str, Any] = trainer.result
        return AttemptEnded(elapsed_s=elapsed_s, **result)
    if status < 0:
        reason = f"The trainer {_SIGNALS.get(-status, f'was ended by signal {-status}')}."
    elif status == 128 + signal.SIGKILL:
        # How a shell or a container reports a process that the system killed.
        reason = f"The trainer {_SIGNALS[signal.SIGKILL]}."
    else:
        reason = f"The trainer ended with status {status} before it finished."
    return AttemptEnded(outcome="crashed", reason=reason, detail=trainer.tail, elapsed_s=elapsed_s)
