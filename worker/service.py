"""The worker process: Celery's consumer in front, the supervisor behind.

Celery runs with its threads pool and one queue, this worker's own. A task only hands its ticket to the supervisor and
returns, so that the worker answers at any time and a warm shutdown has nothing to wait for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import structlog
from celery import Celery, signals
from celery.apps import worker as program
from celery.exceptions import SecurityWarning
from celery.worker import state

from shared.devices import Device, check_present
from shared.jobs import Ticket
from shared.logs import carry
from shared.settings import Settings
from shared.tickets import CANARY_TASK, RUN_TASK, device_queue, make_celery
from worker.bell import Bell
from worker.broker_log import hush_connection_lines
from worker.canary import Canary
from worker.leftovers import send_leftovers
from worker.locks import hold_lock
from worker.presence import Presence
from worker.scratch import sweep_scratch
from worker.supervisor import Supervisor

log = structlog.get_logger(__name__)


def default_name(device: Device) -> str:
    """`<host>/<device>`: what a worker is called unless it is told otherwise."""
    return f"{socket.gethostname()}/{device.name}"


def run_worker(settings: Settings, device: Device, name: str) -> int:
    """Serve `device` under `name` until SIGTERM or SIGINT; then save, hand the job back and return.

    Returns the exit status: 0 unless Celery gave up by itself. Raises InUseError when another worker of this data
    folder has the name, or the device where it is not the CPU.
    """
    carry(worker=name, device=device.name)
    locks = [hold_lock(settings.data, name, device.name)]
    if device.kind != "cpu":
        locks.append(hold_lock(settings.data, device.name, device.name))

    supervisor = Supervisor(settings=settings, device=device, worker=name)
    hush_connection_lines()
    presence = Presence(settings, worker=name, device=device, supervisor=supervisor)
    app = make_celery(settings.redis_url)

    ending = threading.Event()
    """Somebody wants it to end, not to start anew."""

    def start_anew() -> None:
        supervisor.stop()
        supervisor.join()
        presence.stop()
        if ending.is_set():
            return
        # In the same process, so that it comes back whoever started it; the locks end and are taken again.
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - no shell is wanted

    canary = Canary(
        app,
        name,
        silent_s=settings.worker_silent_s,
        reachable=lambda: presence.reachable,
        on_deaf=start_anew,
    )

    def take(ticket: Ticket, *, brought_by: str = "bell") -> None:
        result = supervisor.accept(ticket)
        log.info("ticket", job=ticket.job_id, attempt=ticket.attempt, result=result, brought_by=brought_by)

    _register_tasks(app, heard=canary.heard, take=partial(take, brought_by="celery"))
    bell = Bell(settings.redis_url, name, take, known=lambda: presence.reachable)

    def on_shutting_down(**_: Any) -> None:
        ending.set()
        supervisor.stop()

    # Celery holds its handlers weakly: the reference above must live as long as the worker.
    signals.worker_shutting_down.connect(on_shutting_down)
    check_present(device)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_soon)  # until Celery puts its own handlers there
    try:
        send_leftovers(settings, name)
        sweep_scratch()
        if state.should_stop is not None:
            return 0
        supervisor.start()
        presence.start()
        canary.start()
        bell.start()
        log.info("worker.ready", pid=os.getpid())
        status = _consume(app, name)
        return 1 if supervisor.failure else status
    finally:
        bell.stop()
        canary.stop()
        supervisor.stop()
        supervisor.join()
        presence.stop()
        for lock in locks:
            lock.close()


def _register_tasks(app: Celery, *, heard: Callable[[], None], take: Callable[[Ticket], None]) -> None:
    """Have Celery's consumer call `take` with each ticket, and `heard` with each message."""

    def run(job_id: int, attempt: int) -> None:
        heard()
        take(Ticket(job_id=job_id, attempt=attempt))

    app.task(name=RUN_TASK)(run)
    app.task(name=CANARY_TASK)(heard)


def _consume(app: Celery, name: str) -> int:
    """Run Celery's consumer until the process is told to end; returns its exit status."""
    _quieten_celery()
    consumer = app.Worker(
        hostname=f"spectrain@{name}",
        pool="threads",
        concurrency=1,
        queues=[device_queue(name)],
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    consumer.start()
    log.info("worker.stopping")
    return consumer.exitcode or 0


def _quieten_celery() -> None:
    """Have it write nothing but records."""
    # It tells of each signal past all logs; "worker.stopping" says the same.
    cast(Any, program).safe_say = _say_nothing
    # It warns root of hostile pickles; JSON is all that is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)


def _say_nothing(*_: object) -> None: ...


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Have Celery's consumer end as soon as it begins.

    An exception from here could leave any lock of the main thread taken for good, and other threads would wait for it.
    """
    del number, frame
    state.should_stop = 0
