"""How ends of real child processes are told in words."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shared.devices import Device
from shared.events import AttemptEnded
from worker.exits import classify, count_memory_kills, explain, explain_start
from worker.trainer_process import TrainerProcess

CPU = Device(kind="cpu")
REPORT = (
    "import json, os, sys; r = os.fdopen(int(sys.argv[2]), 'w');"
    "say = lambda m: (r.write(json.dumps(m) + '\\n'), r.flush());"
)


def ended(program: str, **seen: Any) -> AttemptEnded:
    """What is said of a child that runs `program`."""
    trainer = TrainerProcess(device=CPU, environment={}, program=("-c", REPORT + program))
    facts: dict[str, Any] = {"killed_because": "", "wish": "none", "why": "", "fenced": False, "memory_kills": 0}
    status = trainer.join()
    return classify(
        status,
        result=trainer.result,
        tail=trainer.tail,
        began=bool(trainer.phase),
        elapsed_s=1.0,
        **{**facts, **seen},
    )


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("say({'beat': 'steps'}); os.kill(os.getpid(), 11)", "The trainer crashed with a segmentation fault."),
        ("say({'beat': 'steps'}); os.abort()", "The trainer aborted."),
        (
            "say({'beat': 'steps'}); os.kill(os.getpid(), 9)",
            "The trainer was killed by the system, most likely because memory ran out.",
        ),
        (
            "say({'beat': 'steps'}); sys.exit(137)",
            "The trainer was killed by the system, most likely because memory ran out.",
        ),
        ("os.kill(os.getpid(), 4)", "instruction that this processor does not have, before it could start."),
        ("say({'beat': 'setup'}); sys.exit(3)", "The trainer ended with status 3 before it finished."),
        ("sys.exit(3)", "The trainer ended with status 3, before it could start."),
    ],
)
def test_an_end_without_a_word_is_explained(program: str, reason: str) -> None:
    told = ended(program)
    assert told.outcome == "crashed"
    assert told.reason.endswith(reason)


def test_a_kill_for_want_of_memory_is_said_plainly_where_the_system_counted_it() -> None:
    told = ended("os.kill(os.getpid(), 9)", memory_kills=1)
    assert "because memory ran out" in told.reason
    assert "most likely" not in told.reason
    assert "smaller batch_size" in told.reason


def test_the_last_words_are_kept() -> None:
    assert "Traceback" in ended("raise RuntimeError('x')").detail


def test_a_stalled_trainer_is_told_with_its_limit() -> None:
    told = ended("os.kill(os.getpid(), 9)", killed_because="made no progress for 120 s, so it was stopped")
    assert (told.outcome, told.reason) == ("crashed", "The trainer made no progress for 120 s, so it was stopped.")


def test_a_limit_that_paused_it_comes_first() -> None:
    told = ended(
        "say({'result': {'outcome': 'paused', 'step': 5, 'reason': 'Saved step 5 in 0.1 s.'}})",
        wish="pause",
        why="Its time limit of 2 h is reached.",
    )
    assert (told.outcome, told.step) == ("paused", 5)
    assert told.reason == "Its time limit of 2 h is reached. Saved step 5 in 0.1 s."


def test_a_trainer_of_an_older_attempt_has_nothing_to_tell() -> None:
    assert ended("sys.exit(75)").outcome == "fenced"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "This machine ran out of memory: use a smaller batch_size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "The device ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "This machine ran out of memory"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_exceptions_in_plain_words(error: Exception, words: str) -> None:
    assert words in explain(error)


def test_libraries_that_cannot_be_loaded_say_what_to_do() -> None:
    program = "import sys; sys.modules['torch'] = None\ntry:\n import torch\nexcept ImportError as e:\n"
    program += " from worker.exits import explain_start; print(explain_start(e))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "could not start, because its libraries cannot be loaded" in told
    assert "pip install --force-reinstall torch" in told
    assert "spectrain doctor" in explain_start(RuntimeError("no kernel image"))


def test_the_systems_count_of_kills_is_a_number_where_it_is_told() -> None:
    assert (count_memory_kills() or 0) >= 0


def test_nothing_that_a_trainer_started_outlives_it(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    program = (
        "import subprocess; from worker.trainer import end_children_with_us; end_children_with_us();"
        f"p = subprocess.Popen(['sleep', '60']); open({str(started)!r}, 'w').write(str(p.pid));"
        "os.kill(os.getpid(), 9)"
    )
    began_at = time.monotonic()
    ended(program)
    pid = int(started.read_text())
    deadline = began_at + 20
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.02)  # nothing tells of the end of a process that is not ours
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
