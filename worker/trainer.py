"""The trainer process itself: imports torch, waits for one attempt, runs it, reports how it ended.

Reads JSON lines on standard input: `{"attempt": ...}` once, `{"wish": "shutdown"}` at any time; end-of-file means that
the supervisor is gone. Writes JSON lines to the report descriptor: `{"beat": "setup" | "steps"}` while it makes
progress, `{"result": ...}` at the end. Everything else goes through Redis and the artifact store.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TextIO

from shared.devices import parse_device, torch_name
from shared.errors import LeaseLostError, SpectrainError
from shared.events import AttemptStarted
from shared.jobs import AttemptSpec, AttemptSpecAdapter
from shared.settings import Settings
from shared.storage import FolderStorage, open_storage
from shared.version import VERSION
from worker.control_mirror import ControlMirror
from worker.reporter import StreamReporter
from worker.trainer_process import FENCED_EXIT


def main() -> None:
    """Entry of `python -m worker.trainer`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--report-fd", type=int, required=True)
    report = os.fdopen(parser.parse_args().report_fd, "w", encoding="utf-8", buffering=1)
    # The init system's broadcast TERM and the terminal's Ctrl-C are for the supervisor, which then asks us to save.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()

    attempts: SimpleQueue[AttemptSpec] = SimpleQueue()
    shutdown = threading.Event()
    threading.Thread(target=_follow_supervisor, args=(attempts, shutdown), name="lifeline", daemon=True).start()
    _import_engine()

    attempt = attempts.get()
    result = _run(attempt, report, shutdown)
    report.write(json.dumps({"result": result}) + "\n")
    report.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # everything is sent and durable; taking torch apart would only keep the device longer


def _run(attempt: AttemptSpec, report: TextIO, shutdown: threading.Event) -> dict[str, Any]:
    """Run the attempt; returns how it ended: outcome, step, reason and detail."""
    from worker.preprocess import run_preprocess  # noqa: PLC0415 - imported by `_import_engine` already
    from worker.train import run_training  # noqa: PLC0415

    settings = Settings()
    device = parse_device(os.environ["SPECTRAIN_DEVICE"])
    worker = os.environ["SPECTRAIN_WORKER"]

    def beat(phase: str) -> None:
        report.write(json.dumps({"beat": phase}) + "\n")

    control = ControlMirror(settings.redis_url, attempt.job_id, attempt.attempt, shutdown, beat)
    with (
        StreamReporter(
            settings.redis_url,
            attempt.job_id,
            attempt.attempt,
            secret=attempt.secret,
            on_fenced=lambda: os._exit(FENCED_EXIT),
            on_steps=control.steps_began,
        ) as reporter,
        control,
    ):
        reporter.publish(AttemptStarted(worker=worker, device=device.name, versions=_versions()))
        try:
            storage = open_storage(
                settings.storage_url,
                token=settings.token,
                cache=settings.store_cache,
                cache_bytes=settings.cache_bytes,
                on_progress=control.beat,
            )
            if attempt.spec.kind == "preprocess":
                return asdict(
                    run_preprocess(
                        attempt, storage=storage, device=torch_name(device), reporter=reporter, control=control
                    )
                )
            return asdict(
                run_training(
                    attempt,
                    storage=storage,
                    device=torch_name(device),
                    cache=settings.data / "cache",
                    reporter=reporter,
                    control=control,
                    outbox=None if isinstance(storage, FolderStorage) else settings.data / "unsent",
                )
            )
        except LeaseLostError:
            os._exit(FENCED_EXIT)
        except SpectrainError as error:
            return {"outcome": "failed", "reason": str(error), "detail": traceback.format_exc()}
        except Exception as error:  # whatever it was, the person is told; the process ends next
            return {"outcome": "crashed", "reason": _plain(error), "detail": traceback.format_exc()}


def _plain(error: Exception) -> str:
    """What an unexpected exception means, in one sentence."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The device ran out of memory: use a smaller batch_size or chunk_s, or close other programs."
    return f"The trainer met an unexpected error: {type(error).__name__}: {error}"


def _versions() -> dict[str, str]:
    import torch  # noqa: PLC0415

    return {
        "spectrain": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _import_engine() -> None:
    """Import torch and the engine, and wake the device, while nobody waits."""
    import_module("worker.preprocess")
    import_module("worker.train").warm_up(torch_name(parse_device(os.environ["SPECTRAIN_DEVICE"])))


def _follow_supervisor(attempts: SimpleQueue[AttemptSpec], shutdown: threading.Event) -> None:
    unread = b""
    # Not through sys.stdin: a thread waiting inside its buffer would hold the lock that the interpreter's end needs.
    while chunk := os.read(0, 1 << 16):
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "attempt" in message:
                attempts.put(AttemptSpecAdapter.validate_python(message["attempt"]))
            if message.get("wish") == "shutdown":
                shutdown.set()
    os._exit(1)  # the supervisor is gone: the lease lapses, and the job goes on elsewhere from its last checkpoint


def _die_with_parent() -> None:
    """On Linux: SIGKILL when the supervisor's thread ends. Elsewhere the lifeline alone serves."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
