"""What a worker sees of others on its machine: real processes, real locks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from shared.devices import Device
from shared.errors import InUseError
from shared.settings import Settings
from worker import neighbours
from worker.keep_awake import kept_awake
from worker.locks import hold_lock, holders, is_held
from worker.neighbours import Neighbours, cores, cpu_threads, thread_environment

CPU = Device(kind="cpu")
HOLD = "import sys; from pathlib import Path; from worker.locks import hold_lock; lock = hold_lock(Path(sys.argv[1]),"
HOLD += " sys.argv[2], sys.argv[3]); print('held', flush=True); sys.stdin.read()"


@contextmanager
def worker(data: Path, name: str, device: str = "cpu") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the locks of a worker."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data), name, device],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with worker(tmp_path, "here/cpu") as process:
        assert is_held(tmp_path, "here/cpu")
        with pytest.raises(InUseError, match=rf"Another worker \(process {process.pid}\) already serves here/cpu"):
            hold_lock(tmp_path, "here/cpu", "cpu")
        process.kill()
        process.wait()
        assert not is_held(tmp_path, "here/cpu")
        hold_lock(tmp_path, "here/cpu", "cpu").close()


def test_a_child_does_not_keep_its_workers_lock(tmp_path: Path) -> None:
    lock = hold_lock(tmp_path, "here/cpu", "cpu")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        lock.close()
        assert child.poll() is None
        assert not is_held(tmp_path, "here/cpu")
        child.kill()


def test_cores_are_shared_among_the_workers_on_the_processor(tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"data": tmp_path, "threads": None})
    with ExitStack() as stack:
        stack.enter_context(worker(tmp_path, "a"))
        stack.enter_context(worker(tmp_path, "gpu", "cuda:0"))
        assert cpu_threads(settings, CPU) is None, "alone it takes all, as torch does by itself"
        stack.enter_context(worker(tmp_path, "b"))
        assert [holder.device for holder in holders(tmp_path)].count("cpu") == 2
        assert cpu_threads(settings, CPU) == max(1, cores() // 2)
        assert cpu_threads(settings, Device(kind="cuda")) is None
        assert cpu_threads(settings.model_copy(update={"threads": 3}), CPU) == 3
    assert cpu_threads(settings, CPU) is None, "they are gone"
    assert thread_environment(2)["OMP_NUM_THREADS"] == "2"
    assert thread_environment(None) == {}


def test_only_the_load_of_others_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_EVERY_S", 0.0)
    burn = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    busy_s, seconds_of = neighbours._busy_s, neighbours._seconds_of  # pyright: ignore[reportPrivateUsage]
    own = neighbours.own_processes(tmp_path)
    machine, ours = busy_s(), seconds_of(own)
    with subprocess.Popen([sys.executable, "-c", burn]) as child:
        spent = 0.0
        while child.poll() is None:
            spent = sum(psutil.Process(child.pid).cpu_times()[:2])
            time.sleep(0.05)  # until it has burnt
    assert spent > 0.1
    # What the child used is ours, even now that it is gone, and the machine's.
    assert seconds_of(neighbours.own_processes(tmp_path)) - ours >= spent - 0.05
    assert busy_s() - machine >= spent - 0.05

    around = Neighbours(tmp_path, CPU)
    around.look()
    assert around.load is None
    time.sleep(0.2)
    around.look()
    assert around.load is not None
    assert 0.0 <= around.load <= 1.0
    assert around.memory_bytes is not None
    assert 0 < around.memory_bytes < psutil.virtual_memory().total


def put_guard(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> Path:
    """Have the system keep itself awake by a program that writes its process id to the returned file."""
    told = folder / "told"
    program = folder / ("caffeinate" if sys.platform == "darwin" else "systemd-inhibit")
    program.write_text(f'#!/bin/sh\necho $$ "$@" > {told}.partial; mv {told}.partial {told}; {then}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return told


def guard_of(told: Path) -> int:
    deadline = time.monotonic() + 20
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(told.read_text().split()[0])


def test_staying_awake_costs_nothing_where_the_system_has_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with kept_awake(1):
        pass


@pytest.mark.parametrize("then", ["exec cat", "exec sleep 600"], ids=["at once", "not by itself"])
def test_what_keeps_the_machine_awake_ends_with_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    told = put_guard(tmp_path, monkeypatch, then)
    with kept_awake(1):
        pid = guard_of(told)
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
