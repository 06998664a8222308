"""How attempts end, in plain words: from an exception in the trainer, or from what is seen of its process.

Out of memory, killed, crashed, stalled, could not start: each says what a person can do, and says "most likely" where
nothing proves it.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shared.events import AttemptEnded
from shared.jobs import Outcome
from worker.trainer_process import FENCED_EXIT

_SIGNALS: Final[Mapping[int, str]] = {
    signal.SIGSEGV: "crashed with a segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "crashed with a bus error",
    signal.SIGILL: "used an instruction that this processor does not have",
    signal.SIGFPE: "crashed with an arithmetic fault",
    signal.SIGTERM: "was ended by a SIGTERM",
}
_LESS: Final = "use a smaller batch_size or chunk_s, or close other programs"
_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory", re.IGNORECASE
)

_OUTCOMES: Final[Mapping[str, Outcome]] = {
    "cancel": "cancelled",
    "pause": "paused",
    "hand_back": "handed_back",
    "shutdown": "handed_back",
}


def explain(error: BaseException) -> str:
    """What an unexpected exception means, in one sentence."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        where = "The device" if "cuda" in str(error).lower() or "mps" in str(error).lower() else "This machine"
        return f"{where} ran out of memory: {_LESS}."
    return f"The trainer met an unexpected error: {type(error).__name__}: {error}"


def explain_start(error: BaseException) -> str:
    """What kept the trainer from starting, and what to do about it."""
    if isinstance(error, (ImportError, OSError)):
        return (
            f"The trainer could not start, because its libraries cannot be loaded ({error}): install them again with"
            f" `{sys.executable} -m pip install --force-reinstall torch`, then start the worker anew."
        )
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return f"The trainer could not start, because memory ran out: {_LESS}."
    return (
        f"The trainer could not start: {type(error).__name__}: {error}. `spectrain doctor` looks for the usual causes."
    )


def count_memory_kills() -> int | None:
    """How often the system ended a process of our control group for want of memory; None where it does not tell."""
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            hierarchy, controllers, group = line.split(":", 2)
            for file in (
                Path(f"/sys/fs/cgroup{group}/memory.events") if hierarchy == "0" else None,
                Path("/sys/fs/cgroup/memory.events") if hierarchy == "0" else None,
                Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control") if controllers == "memory" else None,
                Path("/sys/fs/cgroup/memory/memory.oom_control") if controllers == "memory" else None,
            ):
                if file is not None and file.is_file():
                    found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
                    if found:
                        return int(found[1])
    except (OSError, ValueError):
        return None
    return None


def classify(
    status: int,
    *,
    result: dict[str, Any] | None,
    tail: str,
    began: bool,
    killed_because: str,
    wish: str,
    why: str,
    fenced: bool,
    memory_kills: int,
    elapsed_s: float,
) -> AttemptEnded:
    """How an attempt ended, from the process' exit status, its last word and what was done to it.

    `began`: it said that it was at work. `why`: why it was asked to stop, where a limit asked. `memory_kills`: how many
    processes the system ended for want of memory meanwhile.
    """
    if fenced or status == FENCED_EXIT:
        return AttemptEnded(outcome="fenced", elapsed_s=elapsed_s)
    if killed_because:
        return AttemptEnded(
            outcome=_OUTCOMES.get(wish, "crashed"),
            reason=f"{why} The trainer {killed_because}.".strip(),
            detail=tail,
            elapsed_s=elapsed_s,
        )
    if result is not None and status == 0:
        asked = why if result.get("outcome") == "paused" else ""
        ended = AttemptEnded(elapsed_s=elapsed_s, **result)
        return ended.model_copy(update={"reason": f"{asked} {ended.reason}".strip()})
    number = -status if status < 0 else status - 128 if status > 128 else 0  # the latter as a shell reports it
    if number == signal.SIGKILL and memory_kills:
        how = f"was killed by the system, because memory ran out: {_LESS}"
    elif number == signal.SIGKILL:
        how = "was killed by the system, most likely because memory ran out"
    elif number:
        how = _SIGNALS.get(number, f"was ended by signal {number}")
    else:
        how = f"ended with status {status}{' before it finished' if began else ''}"
    when = "" if began else ", before it could start"
    return AttemptEnded(outcome="crashed", reason=f"The trainer {how}{when}.", detail=tail, elapsed_s=elapsed_s)
