"""Disks that are full or fail under a training's checkpoints, the record and the append-only file."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from deploy.data_folder import DataFolder
from deploy.redis_server import RedisServer
from shared.errors import CorruptCheckpointError
from shared.storage import FolderStorage
from tests.faults.counting import LEASE_S, Fault
from tests.faults.disks import LoopDisk, SmallDisk, loop_disk, small_disk
from tests.sounds import write_sounds
from tests.system import LONG, ROOT, SMALL, JobJson, System, assert_history_is_whole, first_step, steps_of
from worker.train.checkpoint import CheckpointStore

WARNED_S = 5.0
MORE_STEPS = 20
SAVES_WHEN_ASKED = {**SMALL, "epochs": LONG, "checkpoint_every_s": 86_400, "validation_fraction": 0.0}
"""A training that makes no checkpoint of its own, neither because of the time nor because its model is the best."""

IO_ERRORS = ("Input/output error", "Cannot allocate memory")
"""What is heard of a device that ends too soon: the latter where a folder's own block lies behind its end."""

FULL = 507
"""HTTP status of what finds no space."""

Limit = Callable[[float], float]
Count = Callable[[int, int], int]


@pytest.fixture
def store_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk | LoopDisk]:
    """A disk for artifacts alone."""
    make = small_disk if request.param == "small" else loop_disk
    with make(tmp_path / "disk", size_mb=96) as disk:
        yield disk


@pytest.fixture
def system(tmp_path: Path, redis_url: str, owner: Redis, store_disk: SmallDisk | LoopDisk) -> Iterator[System]:
    """Api and worker whose artifacts lie on `store_disk`, everything else elsewhere."""
    owner.flushall()  # what the system of another test left: its jobs have the same numbers
    storage = str(store_disk.folder / "store")
    with System(tmp_path / "data", redis_url, storage=storage, lease_s=f"{LEASE_S:g}") as system:
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        system.start_worker("w1")
        yield system


@pytest.mark.parametrize("store_disk", ["small"], indirect=True)
def test_row_18_a_full_disk_during_a_save(
    system: System, store_disk: SmallDisk, fault: Fault, count: Count, limit: Limit
) -> None:
    job_id = system.train("sounds", **SAVES_WHEN_ASKED)
    first_step(system, job_id)
    for _ in range(count(1, 5)):
        before = save(system, job_id)
        # Room for the first bytes of the first file, so that it is the writing that fails.
        store_disk.fill(leave_bytes=1 << 16)
        fault.injected()
        seconds = failed_save(system, job_id, ("The disk is full",), limit(WARNED_S))
        goes_on(system, job_id)
        assert_newest_is(store_disk, job_id, before)
        store_disk.free()
        assert save(system, job_id) != before
        fault.held()
        fault.note(f"warned after {seconds:.2f} s")
    assert_nothing_else_happened(system, job_id)


@pytest.mark.parametrize("store_disk", ["loop"], indirect=True)
def test_row_18_an_io_error_during_a_save(
    system: System, store_disk: LoopDisk, fault: Fault, count: Count, limit: Limit
) -> None:
    job_id = system.train("sounds", **SAVES_WHEN_ASKED)
    first_step(system, job_id)
    for _ in range(count(1, 5)):
        before = save(system, job_id)
        store_disk.cut()
        fault.injected()
        seconds = failed_save(system, job_id, IO_ERRORS, limit(WARNED_S))
        goes_on(system, job_id)
        store_disk.mend()
        assert_newest_is(store_disk, job_id, before)
        assert save(system, job_id) != before
        fault.held()
        fault.note(f"warned after {seconds:.2f} s")
    assert_nothing_else_happened(system, job_id)


def save(system: System, job_id: int) -> str:
    """Have the training save; returns the checkpoint's name."""
    told = newest_number(system, job_id)
    system.post(f"/jobs/{job_id}/save")
    event = system.wait_event(job_id, lambda each: each["number"] > told and each["body"]["type"] == "checkpoint")
    return str(event["body"]["name"])


def failed_save(system: System, job_id: int, why: tuple[str, ...], within_s: float) -> float:
    """Have the training save in vain; returns the seconds until it warned with any of the words `why`."""
    told = newest_number(system, job_id)
    started = time.monotonic()
    system.post(f"/jobs/{job_id}/save")
    event = system.wait_event(
        job_id,
        lambda each: (
            each["number"] > told
            and (
                each["body"]["type"] == "checkpoint"
                or any(words in (each["body"].get("message") or "") for words in why)
            )
        ),
        timeout_s=within_s,
    )
    assert event["body"]["type"] == "warning", event
    return time.monotonic() - started


def newest_number(system: System, job_id: int) -> int:
    """Of the events that were told so far; neither the record nor the live connection has them all at once."""
    live = (event["number"] for event in system.live_events(job_id))
    return max(system.get(f"/jobs/{job_id}")["last_event"], *live)


def goes_on(system: System, job_id: int) -> None:
    """The training does more steps from now on."""
    step = system.get(f"/jobs/{job_id}")["progress"]["step"]
    system.wait_job(job_id, lambda job: job["progress"]["step"] > step + MORE_STEPS)


def assert_newest_is(disk: SmallDisk | LoopDisk, job_id: int, name: str) -> None:
    """The newest checkpoint that loads, read from the disk and not from memory, is `name`.

    A disk that failed the writing may have failed the clearing away, too: what it left counts as damaged.
    """
    storage = FolderStorage(disk.folder / "store")
    damaged: list[CorruptCheckpointError] = []
    for path in (storage.root / "jobs" / str(job_id)).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    loaded = CheckpointStore(storage, job_id).load_newest(on_corrupt=damaged.append)
    assert loaded is not None
    assert loaded.manifest.name == name
    assert isinstance(disk, LoopDisk) or not damaged, damaged


def assert_nothing_else_happened(system: System, job_id: int) -> None:
    """The training ran on in its first attempt, and every step was recorded once."""
    system.post(f"/jobs/{job_id}/cancel")
    job = system.wait_job(job_id, "cancelled")
    assert job["attempt"] == 1
    assert steps_of(system, job_id) == list(range(1, job["last_checkpoint_step"] + 1))


@pytest.mark.full
def test_row_23_a_full_disk_under_the_record(
    tmp_path: Path, redis_url: str, owner: Redis, fault: Fault, count: Count
) -> None:
    """Record, artifacts and logs on one disk, as people have them."""
    owner.flushall()
    with (
        small_disk(tmp_path / "disk", size_mb=256) as disk,  # an api with less than 100 MB says that it is not ready
        System(disk.folder / "data", redis_url, lease_s=f"{LEASE_S:g}") as system,
    ):
        system.start_api()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        system.start_worker("w1")
        job_id = system.train("sounds", **SAVES_WHEN_ASKED)
        first_step(system, job_id)
        for turn in range(count(1, 5)):
            disk.fill()
            refused = wait_refused(system, "/datasets", {"name": f"refused-{turn}"})
            fault.injected()
            assert refused == "The disk is full: free some space and try again."
            time.sleep(3.0)  # meanwhile steps are done that cannot be recorded
            disk.free()
            wait_accepted(system, "/datasets", {"name": f"accepted-{turn}"})
            goes_on(system, job_id)
            fault.held()
        assert_nothing_else_happened(system, job_id)
        assert_history_is_whole(system, job_id)


@pytest.mark.full
def test_row_23_a_full_disk_under_the_append_only_file(
    tmp_path: Path, redis_binary: Path, fault: Fault, count: Count
) -> None:
    with small_disk(tmp_path / "disk", size_mb=64) as disk:
        server = RedisServer(disk.folder, log=tmp_path / "redis.log", binary=redis_binary)
        server.start()
        try:
            with System(tmp_path / "data", server.url("api"), lease_s=f"{LEASE_S:g}") as system:
                system.start_api()
                system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
                system.start_worker("w1")
                job_id = system.train("sounds", **SAVES_WHEN_ASKED)
                first_step(system, job_id)
                for _ in range(count(1, 5)):
                    disk.fill()
                    refused = wait_refused(system, f"/jobs/{job_id}/save", {})
                    fault.injected()
                    assert "disk is full" in refused
                    assert "Redis" in refused
                    time.sleep(5.0)  # meanwhile the worker, too, is refused what it asks for
                    disk.free()
                    wait_accepted(system, f"/jobs/{job_id}/save", {})
                    goes_on(system, job_id)
                    fault.held()
                assert_nothing_else_happened(system, job_id)
                assert_history_is_whole(system, job_id)
                after = system.train("sounds", **{**SMALL, "epochs": 1})
                system.wait_job(after, "completed")  # tickets are taken as before
        finally:
            server.stop()


def test_row_23_a_full_disk_under_everything(tmp_path: Path, redis_binary: Path, fault: Fault, count: Count) -> None:
    """Redis, record, artifacts, logs and spool on one disk, and the launcher that looks after them."""
    del redis_binary
    with (
        small_disk(tmp_path / "disk", size_mb=256) as disk,
        System(disk.folder / "data", "") as system,
        up(system, log=tmp_path / "up.log") as launcher,
    ):
        system.connect()
        system.add_dataset("sounds", write_sounds(tmp_path / "sounds", 8))
        job_id = system.train("sounds", **SAVES_WHEN_ASKED)
        first_step(system, job_id)
        for turn in range(count(1, 5)):
            disk.fill()
            refused = wait_refused(system, "/datasets", {"name": f"refused-{turn}"})
            fault.injected()
            assert "disk is full" in refused
            # What ends meanwhile is to be started again, though nobody can write that down.
            (api,) = [entry for entry in DataFolder(system.data).read_processes() if entry.role == "api"]
            said = (tmp_path / "up.log").stat().st_size
            os.kill(api.pid, signal.SIGKILL)
            deadline = time.monotonic() + 60.0
            while b"failed (No space left on device)" not in (tmp_path / "up.log").read_bytes()[said:]:
                assert time.monotonic() < deadline, "the launcher had nothing to write down"
                time.sleep(0.1)
            time.sleep(5.0)  # meanwhile steps are done that nobody takes and nobody can keep
            assert not api.alive()
            assert launcher.poll() is None, (tmp_path / "up.log").read_text()
            disk.free()
            wait_accepted(system, "/datasets", {"name": f"accepted-{turn}"})
            goes_on(system, job_id)
            fault.held()
        assert_nothing_else_happened(system, job_id)
        assert_history_is_whole(system, job_id)
        after = system.train("sounds", **{**SMALL, "epochs": 1})
        system.wait_job(after, "completed")


@contextmanager
def up(system: System, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`spectrain up` on the folder and port of `system`, with one worker; stopped in good order in the end."""
    command = [sys.executable, "-m", "deploy.cli", "up", "--data", str(system.data), "--port", str(system.port)]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    with log.open("wb") as said:
        launcher = subprocess.Popen(
            [*command, "--device", "cpu"],
            cwd=ROOT,
            env={**environment, "SPECTRAIN_LEASE_S": f"{LEASE_S:g}"},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120.0
        while "Spectrain is ready" not in log.read_text():
            assert launcher.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield launcher
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(60.0) == 0, log.read_text()
    finally:
        launcher.kill()
        launcher.wait()


def wait_refused(system: System, path: str, body: JobJson) -> str:
    """Ask until it is refused, since what is kept in memory may take a little more; returns the reason."""
    deadline = time.monotonic() + 30.0
    asked = body
    for turn in itertools.count(1):
        answer = system.http.post(path, json=asked)
        if not answer.is_success:
            assert answer.status_code == FULL, f"{answer.status_code} {answer.text}"
            return str(answer.json()["error"])
        assert time.monotonic() < deadline, "nothing was refused"
        asked = {**body, "name": f"{body['name']}-{turn}"} if body else body
    raise AssertionError


def wait_accepted(system: System, path: str, body: JobJson) -> None:
    """Ask until it is accepted; nobody helps."""
    deadline = time.monotonic() + 60.0
    refused = ""
    while time.monotonic() < deadline:
        try:
            answer = system.http.post(path, json=body)
        except httpx.TransportError as error:  # it is being started again
            refused = str(error)
        else:
            if answer.is_success:
                return
            refused = f"{answer.status_code} {answer.text}"
        time.sleep(0.2)
    raise AssertionError(refused)
