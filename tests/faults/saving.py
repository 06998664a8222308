"""Saves checkpoints until it is killed, again and again: `python -m tests.faults.saving STORE ROUNDS SEED`.

Each round forks a child that saves and prunes as a trainer does, kills it at a random moment, and looks at what the
store holds then. Writes one JSON line per round: the newest step whose save had begun, the newest that was reported
as saved, what loads now, and which damaged checkpoints were named. torch is imported once, before the forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from shared.errors import CorruptCheckpointError
from shared.storage import FolderStorage
from tests.unit.train.tools import snapshot
from worker.train.checkpoint import CheckpointStore, LoadedCheckpoint

_WEIGHTS = 100_000
"""Of the model: 400 kB, so that writing takes its share of a save."""


def save(store: CheckpointStore, step: int) -> None:
    """A checkpoint whose every weight says which step it is of; then old ones are removed."""
    store.save(snapshot(step, model={"weight": torch.full((_WEIGHTS,), float(step))}))
    store.prune(attempt=1, best=None)


def is_step(loaded: LoadedCheckpoint, step: int) -> bool:
    """Whether every part of a checkpoint is of that step."""
    weights = loaded.model["weight"]
    return bool((weights == float(step)).all()) and loaded.state["position"] == {"step": step}


def main() -> None:
    """Entry."""
    store = CheckpointStore(FolderStorage(Path(sys.argv[1])), 1)
    chance = random.Random(sys.argv[3])
    torch.set_num_threads(1)  # a fork keeps no thread but one
    typical_s = _typical_seconds(store)
    begun = durable = 10
    for _ in range(int(sys.argv[2])):
        begun, newest = _kill_a_save(store, begun + 1, chance.uniform(0.0, 3.0 * typical_s))
        durable = newest or durable
        corrupt: list[CorruptCheckpointError] = []
        held = store.names()
        loaded = store.load_newest(on_corrupt=corrupt.append)
        line: dict[str, Any] = {"begun": begun, "durable": durable, "held": held, "named": [e.name for e in corrupt]}
        if loaded is not None:
            line |= {"loaded": loaded.manifest.step, "whole": is_step(loaded, loaded.manifest.step)}
        sys.stdout.write(json.dumps(line) + "\n")


def _typical_seconds(store: CheckpointStore) -> float:
    seconds: list[float] = []
    for step in range(1, 11):
        started = time.monotonic()
        save(store, step)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def _kill_a_save(store: CheckpointStore, first: int, after_s: float) -> tuple[int, int]:
    """Returns the newest step that a child began to save, and the newest that it finished (0 for none)."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        step = first
        while True:
            os.write(tell, f"begun {step}\n".encode())
            save(store, step)
            os.write(tell, f"durable {step}\n".encode())
            step += 1
    os.close(tell)
    with os.fdopen(told) as lines:
        story = [lines.readline()]
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the child ended by itself: {status}"
        story += lines.readlines()
    begun, durable = (
        max((int(line.split()[1]) for line in story if line.startswith(word)), default=0)
        for word in ("begun", "durable")
    )
    return begun, durable


if __name__ == "__main__":
    main()
