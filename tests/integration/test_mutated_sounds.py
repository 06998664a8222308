"""Mutated audio files, sent to a real api: none ends a process, none makes it grow, none leaves its folder.

300 of them, and 10,000 with --security.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import psutil
import pytest

from tests.integration.mutations import good_files, mutated_files
from tests.system import System

BATCH = 20
GROWTH_BYTES = 50_000_000
LEAST_CONTAINERS = 12


def serving(system: System) -> list[psutil.Process]:
    """The api's processes, without the one that decodes."""
    arbiter = psutil.Process(system.pid("api"))
    return [arbiter, *arbiter.children()]


def memory(processes: list[psutil.Process]) -> int:
    """Bytes that they have in memory."""
    return sum(process.memory_info().rss for process in processes)


def send(system: System, files: list[tuple[str, bytes]]) -> dict[str, int]:
    """Upload them; how many of each result there are."""
    parts = [("files", (name or "empty", content)) for name, content in files]
    answer = system.http.post("/datasets/any/files", files=parts)
    assert answer.status_code == 200, answer.text
    results = answer.json()["files"]
    assert len(results) == len(files)
    assert all(each["result"] != "refused" or each["reason"] for each in results)
    counts = dict.fromkeys(("added", "duplicate", "refused"), 0)
    for each in results:
        counts[each["result"]] += 1
    return counts


@pytest.mark.security
def test_whatever_comes_in_brings_nothing_down(
    tmp_path: Path, redis_url: str, figures: list[str], *, thorough: bool
) -> None:
    count = 10_000 if thorough else 300
    assert len(good_files()) >= LEAST_CONTAINERS
    with System(tmp_path / "data", redis_url, uploads_per_minute="1000000") as system:
        system.start_api()
        system.post("/datasets", {"name": "any"})
        assert send(system, [(f"{i}.x", content) for i, content in enumerate(good_files())])["added"]
        send(system, list(mutated_files(2 * BATCH, seed=0)))
        before, size = serving(system), memory(serving(system))
        total = dict.fromkeys(("added", "duplicate", "refused"), 0)
        largest, started = size, time.monotonic()
        mutated = mutated_files(count, seed=1)
        while files := list(islice(mutated, BATCH)):
            for result, number in send(system, files).items():
                total[result] += number
            assert serving(system) == before, "none of its processes ended"
            largest = max(largest, memory(before))
        seconds = time.monotonic() - started
        figures.append(f"{count:,} mutated files in {seconds:.0f} s: {total}, {(largest - size) / 1e6:.1f} MB more")
        assert sum(total.values()) == count
        assert total["refused"] > count / 4, "they are bad enough to prove something"
        assert largest - size < GROWTH_BYTES
        assert {path.name for path in tmp_path.iterdir()} == {"data"}
        assert not [path for path in (system.data / "uploads").rglob("*") if path.is_file()]
        assert all(len(path.name) == 64 for path in (system.data / "store" / "clips").iterdir())
        assert system.http.get("/datasets/any").status_code == 200
