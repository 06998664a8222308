"""The real thing for tests: api and worker processes on a Redis of their own, watched through HTTP and Socket.IO."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import engineio
import httpx
import psutil
import socketio
from safetensors.numpy import load as load_safetensors
from typing_extensions import override

from tests.processes import descendants, seconds_until_gone

READY_S = 60.0
LOOK_S = 2.0
"""A wait trusts the live connection for so long; then it asks by HTTP, too."""
ROOT = Path(__file__).parent.parent

JobJson = dict[str, Any]

SMALL: dict[str, Any] = {
    "chunk_s": 0.15,
    "spectrogram": {"n_fft": 1024, "n_mels": 32},
    "latent_dim": 8,
    "batch_size": 4,
    "expansion": 4,
    "preview_every": 0,
    "speeds": [1.0],
}
"""A model and examples that take milliseconds a step."""
LONG = 100_000
"""Epochs that no test waits for."""


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _InOrder(engineio.Client):
    """Handles one message after the other; the original has a thread for each, and they overtake one another."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._handling = ThreadPoolExecutor(max_workers=1)

    @override
    def _trigger_event(self, event: str, *arguments: Any, run_async: bool = False, **options: Any) -> Any:
        if not run_async:
            return super()._trigger_event(event, *arguments, **options)
        # Not on the thread that reads: a message that ends the connection waits for that one.
        return self._handling.submit(super()._trigger_event, event, *arguments, **options)


class _Socket(socketio.Client):
    @override
    def _engineio_client_class(self) -> type[engineio.Client]:
        return _InOrder


class System:
    """An api and any number of workers. To be entered; leaving it ends every process."""

    def __init__(self, data: Path, redis_url: str, **settings: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "SPECTRAIN_DATA": str(data),
            "SPECTRAIN_PORT": str(self.port),
            "SPECTRAIN_LEASE_S": "3",
            **{f"SPECTRAIN_{name.upper()}": value for name, value in settings.items()},
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(base_url=f"{self.url}/api/v1", timeout=30.0)
        self._headers: dict[str, str] = {}
        self._jobs: dict[int, JobJson] = {}
        self._events: list[JobJson] = []
        self._changed = threading.Condition()
        self._socket = _Socket(reconnection_delay=0.3, request_timeout=READY_S)
        self._socket.on("job", self._on_job)
        self._socket.on("worker", self._on_worker)
        self._socket.on("event", self._on_event)
        self._socket.on("connect", self._on_connect)
        self._socket.on("disconnect", self._on_disconnect)
        self._workers: dict[str, JobJson] = {}
        self._watched: set[int] = set()
        self._unkept: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect_socket()
        self.http.close()
        below: list[psutil.Process] = []
        for name in reversed(list(self._processes)):
            with suppress(psutil.NoSuchProcess):
                below += descendants(self.pid(name))
            self.kill(name)
        # They end with their parents, but after them: one in the middle of a write still holds the data folder.
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        seconds_until_gone(below, READY_S)

    def settings(self, **variables: str) -> None:
        """Change the environment of what is started from now on."""
        self._environment.update(variables)

    def show(self, token: str) -> None:
        """Have everything that is asked from now on show a token."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self.http.headers.update(self._headers)

    def start_api(self) -> float:
        """Start the api; returns the seconds until it was ready."""
        started = time.monotonic()
        self._start("api", ["-m", "api"])
        while time.monotonic() - started < READY_S:
            try:
                answer = httpx.get(f"{self.url}/readyz", headers=self._headers, timeout=5.0)
            except httpx.TransportError:
                # Nothing tells when a port opens; the process may also have ended.
                assert self._processes["api"].poll() is None, self.log("api")
                time.sleep(0.02)
                continue
            # A disk that a test makes small has little room from the beginning.
            if not {name: wrong for name, wrong in answer.json()["checks"].items() if wrong and name != "disk"}:
                took_s = time.monotonic() - started
                self.connect()
                return took_s
            time.sleep(0.02)
        raise AssertionError(f"The api did not become ready: {self.log('api')}")

    def connect(self) -> None:
        """Follow what the api tells live; to be called where something else started it."""
        self._socket.connect(self.url, headers=self._headers, wait_timeout=READY_S)

    def _disconnect_socket(self) -> None:
        """Before the api ends: a client that tries to come back leaves threads and sockets to later tests."""
        self._socket.shutdown()

    def start_worker(
        self, name: str = "w1", device: str = "cpu", *, module: str = "worker", **environment: str
    ) -> None:
        """Start a worker, `python -m module`, and wait until the api has heard of it."""
        started_at = time.time()
        self.begin_worker(name, device, module=module, **environment)

        def online() -> bool:
            # One that a job waits for may be busy before anybody has seen it idle.
            worker = self._workers.get(name)
            return worker is not None and worker["started_at"] >= started_at and worker["state"] in {"idle", "busy"}

        with self._changed:
            came = self._changed.wait_for(online, READY_S)
        assert came, f"The worker {name} did not come online: {self.log(name)}"

    def begin_worker(
        self, name: str = "w1", device: str = "cpu", *, module: str = "worker", **environment: str
    ) -> None:
        """Start a worker without waiting for it."""
        self._start(name, ["-m", module, "--device", device, "--name", name], environment)

    def pid(self, name: str) -> int:
        """Process id of `api` or a worker."""
        return self._processes[name].pid

    def runs(self, name: str) -> bool:
        """Whether the process was started and not stopped since."""
        return name in self._processes

    def stop(self, name: str, timeout_s: float = 30.0) -> int:
        """SIGTERM, and wait; returns the exit status."""
        process = self._processes.pop(name)
        if name == "api":
            self._disconnect_socket()
        process.send_signal(signal.SIGTERM)
        self._workers.pop(name, None)
        return process.wait(timeout_s)

    def kill(self, name: str) -> None:
        """SIGKILL to the process, and wait until it is gone."""
        process = self._processes.pop(name)
        if name == "api":
            self._disconnect_socket()
        process.kill()
        process.wait()
        self._workers.pop(name, None)

    def kill_group(self, name: str) -> None:
        """SIGKILL to the process and all of its process group, and wait until it is gone."""
        os.killpg(self.pid(name), signal.SIGKILL)
        self.kill(name)

    def wait_end(self, name: str, timeout_s: float) -> int:
        """Wait for a process that something else ends; returns the exit status, negative for a signal."""
        status = self._processes[name].wait(timeout_s)
        self._processes.pop(name)
        self._workers.pop(name, None)
        return status

    def wait_nobody_online(self) -> None:
        """Wait until the api believes in no worker any more."""
        deadline = time.monotonic() + READY_S
        while any(worker["state"] != "offline" for worker in self.get("/workers")["workers"]):
            assert time.monotonic() < deadline, self.get("/workers")
            time.sleep(0.05)

    def workers(self) -> list[str]:
        """Names of the workers that were started and neither stopped nor killed since."""
        return [name for name in self._processes if name != "api"]

    def log(self, name: str) -> str:
        """The last that a process wrote."""
        path = self.data / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace")[-6000:] if path.exists() else ""

    def add_dataset(self, name: str, paths: list[Path]) -> None:
        """Create a dataset and upload files to it."""
        self.post("/datasets", {"name": name})
        files = [("files", (path.name, path.read_bytes())) for path in paths]
        answer = self.http.post(f"/datasets/{name}/files", files=files)
        assert answer.status_code == httpx.codes.OK, answer.text
        refused = [each for each in answer.json()["files"] if each["result"] == "refused"]
        assert not refused, refused

    def post(self, path: str, body: dict[str, Any] | None = None) -> JobJson:
        """POST that must succeed."""
        answer = self.http.post(path, json=body or {})
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def get(self, path: str) -> JobJson:
        """GET that must succeed."""
        answer = self.http.get(path)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def train(self, dataset: str, *, representation: str = "mel", **changes: Any) -> int:
        """Submit a training; returns the job's id, whose events are watched."""
        body = {"kind": "train", "dataset": dataset, "representation": representation, "changes": changes}
        job_id = int(self.post("/jobs", body)["id"])
        self.watch(job_id)
        return job_id

    def train_like(self, job_id: int, dataset: str, **changes: Any) -> int:
        """Submit a training that computes as that job did: what is fastest is measured, and may differ by the moment.

        Without that two jobs need not be equal bit for bit, though each is the same however often it is interrupted.
        """
        body = {"kind": "train", "dataset": dataset, "representation": "mel", "changes": changes, "held": True}
        like = int(self.post("/jobs", body)["id"])
        jobs = self.data / "store" / "jobs"
        (jobs / str(like)).mkdir(parents=True)
        shutil.copyfile(jobs / str(job_id) / "plan.json", jobs / str(like) / "plan.json")
        self.watch(like)
        self.post(f"/jobs/{like}/release")
        return like

    def watch(self, job_id: int, *, keep: bool = True) -> None:
        """Collect the live events of a job, or have them sent only."""
        self._watched.add(job_id)
        if not keep:
            self._unkept.add(job_id)
        answer = self._socket.call("watch", {"job": job_id})
        assert answer.get("ok"), answer

    def live_events(self, job_id: int) -> list[JobJson]:
        """Live events that came so far."""
        with self._changed:
            return [event for event in self._events if event["job_id"] == job_id]

    def events(self, job_id: int, types: str = "") -> list[JobJson]:
        """All recorded events of a job."""
        events: list[JobJson] = []
        while True:
            after = events[-1]["number"] if events else 0
            page = self.get(f"/jobs/{job_id}/events?after={after}&limit=1000&types={types}")["events"]
            events += page
            if not page:
                return events

    def wait_job(self, job_id: int, wanted: Callable[[JobJson], bool] | str, timeout_s: float = 240.0) -> JobJson:
        """Wait until the job is as wanted: in a state, or meeting a condition."""

        def met(job: JobJson) -> bool:
            return job.get("state") == wanted if isinstance(wanted, str) else wanted(job)

        def look() -> None:
            self._jobs[job_id] = self.get(f"/jobs/{job_id}")

        look()
        done = self._wait_for(lambda: met(self._jobs[job_id]), look, timeout_s)
        job = self._jobs[job_id]
        assert done, f"waited {timeout_s} s; the job is {json.dumps(job, indent=1)}"
        return job

    def wait_event(self, job_id: int, wanted: Callable[[JobJson], bool], timeout_s: float = 240.0) -> JobJson:
        """Wait for an event of a watched job, live or, where the connection was lost meanwhile, recorded."""

        recorded: list[JobJson] = []

        def found() -> JobJson | None:
            events = (event for event in self._events if event["job_id"] == job_id)
            return next((event for event in (*events, *recorded) if wanted(event)), None)

        def look() -> None:
            recorded[:] = self.events(job_id)

        event = self._wait_for(found, look, timeout_s)
        assert event, f"waited {timeout_s} s for an event of job {job_id}: {self.get(f'/jobs/{job_id}')}"
        return event

    def _wait_for(self, met: Callable[[], Any], look: Callable[[], None], timeout_s: float) -> Any:
        """Wait until `met` gives something; `look` asks by HTTP what a lost connection did not tell."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                came = self._changed.wait_for(met, max(0.0, min(LOOK_S, deadline - time.monotonic())))
            if came or time.monotonic() > deadline:
                return came
            look()

    def _start(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**self._environment, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group of its own, as a service or a terminal's job has one
            )

    def _on_connect(self) -> None:
        self._socket.emit("watch_queue", {})
        for job_id in self._watched:
            self._socket.emit("watch", {"job": job_id})

    def _on_disconnect(self, reason: str) -> None:
        # The client forgets a connection that broke, and would leave its socket open; one that it ends it needs still.
        if reason != self._socket.reason.CLIENT_DISCONNECT and self._socket.eio.ws is not None:
            self._socket.eio.ws.shutdown()

    def _on_job(self, job: JobJson) -> None:
        with self._changed:
            self._jobs[job["id"]] = job
            self._changed.notify_all()

    def _on_worker(self, worker: JobJson) -> None:
        with self._changed:
            self._workers[worker["name"]] = worker
            self._changed.notify_all()

    def _on_event(self, event: JobJson) -> None:
        if event["job_id"] in self._unkept:
            return
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()


def steps_of(system: System, job_id: int) -> list[int]:
    """Every step that was recorded, in order; one that two attempts did stands there twice."""
    return [step for event in system.events(job_id, "steps") for step in event["body"]["step"]]


def assert_history_is_whole(system: System, job_id: int) -> None:
    """The numbers of a job's recorded events have no gap and no double."""
    numbers = [event["number"] for event in system.events(job_id)]
    assert numbers == list(range(1, len(numbers) + 1))


def first_step(system: System, job_id: int) -> JobJson:
    """Wait for the first live event that tells of steps."""
    return system.wait_event(job_id, lambda event: event["body"]["type"] == "steps")


def event_of(attempt: int, kind: str, *, after_step: int = 0) -> Callable[[JobJson], bool]:
    """A condition for `wait_event`: an event of that attempt and type, of steps with one above `after_step`."""

    def matches(event: JobJson) -> bool:
        body = event["body"]
        if event["attempt"] != attempt or body["type"] != kind:
            return False
        return not after_step or max(body["step"] if kind == "steps" else [body["step"]]) > after_step

    return matches


def trainers_of(system: System, worker: str) -> list[psutil.Process]:
    """The trainer processes of a worker."""
    return [child for child in psutil.Process(system.pid(worker)).children() if _is_trainer(child)]


def _is_trainer(child: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end at any moment; of one that has, nobody has asked the status yet
        return child.status() != psutil.STATUS_ZOMBIE and "--report-fd" in child.cmdline()
    return False


def final_weights(system: System, job_id: int) -> dict[str, bytes]:
    """The tensors of a completed training's last checkpoint, by name."""
    newest = system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"][0]
    assert newest["reason"] == "final"
    content = system.http.get(f"/jobs/{job_id}/checkpoints/{newest['name']}/weights").content
    return {name: tensor.tobytes() for name, tensor in load_safetensors(content).items()}
