"""The trainer process itself: imports torch, waits for one attempt, runs it, reports how it ended.

Reads JSON lines on standard input: `{"attempt": ..., "threads": ...}` once, `{"wish": "pause" | "shutdown"}` at any
time; end-of-file means that the supervisor is gone. Writes JSON lines to the report descriptor: `{"beat": "setup" |
"steps"}` while it makes progress, `{"result": ...}` at the end. Everything else goes through Redis and the artifact
store.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TextIO

from shared.devices import parse_device, torch_name
from shared.errors import LeaseLostError, SpectrainError, StorageAwayError
from shared.events import AttemptStarted
from shared.jobs import AttemptSpec, AttemptSpecAdapter
from shared.logs import carry, configure_logs
from shared.settings import Settings
from shared.storage import FolderStorage, open_storage
from shared.version import VERSION
from worker.control_mirror import ControlMirror, SupervisorWish
from worker.exits import explain, explain_start
from worker.reporter import StreamReporter
from worker.spool import Spool
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
    end_children_with_us()
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    carry(worker=os.environ["SPECTRAIN_WORKER"], device=os.environ["SPECTRAIN_DEVICE"])

    attempts: SimpleQueue[tuple[AttemptSpec, int | None]] = SimpleQueue()
    asked = SupervisorWish()
    threading.Thread(target=_follow_supervisor, args=(attempts, asked), name="lifeline", daemon=True).start()
    fault = _import_engine()

    attempt, threads = attempts.get()
    carry(job=attempt.job_id, attempt=attempt.attempt)
    result = fault or _run(attempt, report, asked, threads)
    report.write(json.dumps({"result": result}) + "\n")
    report.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # everything is sent and durable; taking torch apart would only keep the device longer


def _run(attempt: AttemptSpec, report: TextIO, asked: SupervisorWish, threads: int | None) -> dict[str, Any]:
    """Run the attempt; returns how it ended: outcome, step, reason and detail."""
    import torch  # noqa: PLC0415 - imported by `_import_engine` already

    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)  # other workers came or went since this process began
    from worker.preprocess import run_preprocess  # noqa: PLC0415 - imported by `_import_engine` already
    from worker.train import run_training  # noqa: PLC0415

    settings = Settings()
    device = parse_device(os.environ["SPECTRAIN_DEVICE"])
    worker = os.environ["SPECTRAIN_WORKER"]

    def beat(phase: str) -> None:
        report.write(json.dumps({"beat": phase}) + "\n")

    control = ControlMirror(settings.redis_url, attempt.job_id, attempt.attempt, asked, beat)
    with (
        StreamReporter(
            settings.redis_url,
            Spool.of(settings, attempt, worker=worker),
            stream_events=settings.stream_events,
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
                waits=True,
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
        except StorageAwayError as error:
            # Another try meets a store that is there again, on this machine or on another.
            return {"outcome": "handed_back", "reason": str(error)}
        except SpectrainError as error:
            return {"outcome": "failed", "reason": str(error), "detail": traceback.format_exc()}
        except Exception as error:  # whatever it was, the person is told; the process ends next
            return {"outcome": "crashed", "reason": explain(error), "detail": traceback.format_exc()}


def _versions() -> dict[str, str]:
    import torch  # noqa: PLC0415

    return {
        "spectrain": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _import_engine() -> dict[str, Any] | None:
    """Import torch and the engine, and wake the device, while nobody waits; what went wrong, as a result."""
    try:
        import_module("worker.preprocess")
        import_module("worker.train").warm_up(torch_name(parse_device(os.environ["SPECTRAIN_DEVICE"])))
    except Exception as error:  # whatever it was, the job that comes here tells it
        return {"outcome": "crashed", "reason": explain_start(error), "detail": traceback.format_exc()}
    return None


def _follow_supervisor(attempts: SimpleQueue[tuple[AttemptSpec, int | None]], asked: SupervisorWish) -> None:
    unread = b""
    # Not through sys.stdin: a thread waiting inside its buffer would hold the lock that the interpreter's end needs.
    while chunk := os.read(0, 1 << 16):
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "attempt" in message:
                attempts.put((AttemptSpecAdapter.validate_python(message["attempt"]), message.get("threads")))
            asked.wish = message.get("wish", asked.wish)
    os._exit(1)  # the supervisor is gone: the lease lapses, and the job goes on elsewhere from its last checkpoint


def end_children_with_us() -> None:
    """Have a shell in our process group kill all of it once we are gone, however we ended."""
    lifeline, _ = os.pipe()  # nobody else has the other end, which closes with this process
    subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM INT HUP; read -r line; kill -KILL 0"],
        stdin=lifeline,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(lifeline)


def _die_with_parent() -> None:
    """On Linux: SIGKILL when the supervisor's thread ends. Elsewhere the lifeline alone serves."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
