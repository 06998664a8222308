"""Api and worker, when they start, remove what was left by processes that were killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.system import System

DAYS_S = 2 * 86_400
LATER = f"import time\n_now = time.time\ntime.time = lambda: _now() + {DAYS_S}\n"
"""Runs before everything else in each process, for which everything is days old."""


def test_what_killed_processes_left_is_gone_soon_after_the_start(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(LATER)
    path = os.pathsep.join([str(tmp_path / "clock"), os.environ.get("PYTHONPATH", "")])
    half_deleted = tmp_path / "data" / "store" / "jobs" / "1" / "checkpoints" / ".tmp-1"
    unfinished = tmp_path / "scratch" / "spectrain-features-1"
    for folder in (half_deleted, unfinished):
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"half")
    with System(tmp_path / "data", redis_url) as system:
        system.settings(PYTHONPATH=path, TMPDIR=str(tmp_path / "scratch"))
        system.start_api()
        system.start_worker("w1")
        deadline = time.monotonic() + 30.0
        while half_deleted.exists() or unfinished.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
