"""The api as people get it: `python -m api` on a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import socketio
import soundfile

from tests.processes import seconds_until_gone
from tests.sounds import make_sound, write_sounds
from tests.system import ROOT, System, free_port

START_S = 2.0
"""What is promised on a machine that is idle."""
START_CPU_S = 6.0
"""What is asserted, of the processor's time: the machine that runs the tests is not."""
SLOW_START_S = 20.0
"""And of the better of two starts: one that waits for something costs no processor."""
MEMORY_BYTES = 150_000_000
STOP_S = 9.0
"""Less than gunicorn's patience, after which it kills what does not stop by itself."""
GONE_S = 30.0


@pytest.fixture(scope="module")
def system(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("api"), redis_url) as system:
        system.start_api()
        yield system


def family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def test_it_starts_and_stops_quickly_and_stays_small(redis_url: str, tmp_path: Path) -> None:
    with System(tmp_path / "data", redis_url) as system:
        first_s = system.start_api()
        system.stop("api")
        again_s = system.start_api()
        processes = family(system.pid("api"))
        used = sum(process.memory_full_info().uss for process in processes)
        cpu_s = sum(sum(process.cpu_times()[:2]) for process in processes)
        started = time.monotonic()
        # The test's own socket is open all the while.
        assert system.stop("api") == 0
        stop_s = time.monotonic() - started
        sys.stdout.write(
            f"start {first_s:.2f} s, again {again_s:.2f} s (of {START_S}), {cpu_s:.2f} s of the processor,"
            f" {used / 1e6:.0f} MB, stop {stop_s:.2f} s\n"
        )
        assert cpu_s < START_CPU_S
        assert min(first_s, again_s) < SLOW_START_S
        assert used < MEMORY_BYTES
        assert stop_s < STOP_S
        seconds_until_gone(processes, GONE_S)


def test_no_process_stays_when_it_is_killed(redis_url: str, tmp_path: Path) -> None:
    with System(tmp_path / "data", redis_url) as system:
        system.start_api()
        processes = family(system.pid("api"))
        assert len(processes) > 1
        system.kill("api")
        seconds_until_gone(processes, GONE_S)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III")],
)
def test_every_promised_format_comes_in_and_out(system: System, tmp_path: Path, container: str, subtype: str) -> None:
    name = f"{container.lower()} {subtype}"
    path = tmp_path / f"kick.{container.lower()}"
    soundfile.write(path, make_sound(5), 48_000, format=container, subtype=subtype)
    system.add_dataset(name, [path])
    [file] = system.get(f"/datasets/{name}")["files"]
    assert (file["duration_s"], file["format"]) == (0.5, f"{container} {subtype}")
    answer = system.http.get(f"/datasets/{name}/clips/{file['sha256']}/audio", headers={"Range": "bytes=0-99"})
    assert (answer.status_code, answer.content) == (206, path.read_bytes()[:100])


def test_bad_files_are_refused_by_name_and_the_others_go_on(system: System, tmp_path: Path) -> None:
    good = write_sounds(tmp_path, 2)
    noise = make_sound(1)
    noise[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", make_sound(1)[:2_000], 48_000)
    whole = good[0].read_bytes()
    files = {
        "good/one.wav": whole,
        "text.wav": b"not a sound " * 1_000,
        "empty.wav": b"",
        "cut.wav": whole[: len(whole) // 2],
        "nan.wav": (tmp_path / "nan.wav").read_bytes(),
        "short.wav": (tmp_path / "short.wav").read_bytes(),
        "good/two.wav": good[1].read_bytes(),
    }
    system.post("/datasets", {"name": "mixed"})
    answer = system.http.post(
        "/datasets/mixed/files", files=[("files", (name, content)) for name, content in files.items()]
    ).json()
    outcome = {file["name"]: file["result"] for file in answer["files"]}
    assert [name for name, result in outcome.items() if result == "added"] == ["good/one.wav", "good/two.wav"]
    for file in answer["files"]:
        if file["result"] == "refused":
            assert file["reason"].startswith(file["name"]), file
    assert answer["dataset"]["clips"] == 2


def test_many_small_files_come_in_quickly(system: System, tmp_path: Path) -> None:
    paths = write_sounds(tmp_path, 200, duration_s=0.1, first_seed=100)
    system.post("/datasets", {"name": "many"})
    files = [("files", (f"folder/{path.name}", path.read_bytes())) for path in paths]
    started = time.monotonic()
    answer = system.http.post("/datasets/many/files", files=files)
    sys.stdout.write(f"200 files in {time.monotonic() - started:.2f} s\n")
    assert answer.json()["dataset"]["clips"] == 200


def test_sockets_hear_of_what_changes(system: System, tmp_path: Path) -> None:
    system.add_dataset("heard", write_sounds(tmp_path, 2))
    job_id = system.train("heard", epochs=1)
    system.wait_event(job_id, lambda event: event["body"]["type"] == "state", timeout_s=60.0)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled", timeout_s=60.0)


def test_sockets_of_other_sites_are_refused(system: System) -> None:
    client = socketio.Client(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(system.url, headers={"Origin": "https://evil.example"}, wait_timeout=5)
    answer = httpx.get(f"{system.url}/socket.io/?EIO=4&transport=polling", headers={"Host": "evil.example"})
    assert answer.status_code == 403


def test_more_sockets_than_most_have_browsers(system: System) -> None:
    clients = [socketio.Client(reconnection=False) for _ in range(40)]
    try:
        for client in clients:
            client.connect(system.url, transports=["websocket"], wait_timeout=10)
            assert client.call("watch_queue", {}, timeout=10) == {"ok": True}
        assert httpx.get(f"{system.url}/healthz").json() == {"status": "ok"}
    finally:
        for client in clients:
            client.disconnect()


def test_an_address_that_is_taken_is_said_in_a_sentence(system: System, redis_url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "REDIS_URL": redis_url,
        "SPECTRAIN_DATA": str(tmp_path),
        "SPECTRAIN_PORT": str(system.port),
    }
    done = subprocess.run(
        [sys.executable, "-m", "api"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"Something else listens on 127.0.0.1:{system.port}")


def test_a_setting_that_cannot_work_is_named(tmp_path: Path) -> None:
    environment = os.environ | {"SPECTRAIN_DATA": str(tmp_path), "SPECTRAIN_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "api"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("SPECTRAIN_PORT in the environment cannot work: ")
    assert "Traceback" not in done.stderr


def test_it_lives_without_redis_and_says_so(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    environment = os.environ | {
        "REDIS_URL": f"redis://127.0.0.1:{nobody}/0",
        "SPECTRAIN_DATA": str(tmp_path),
        "SPECTRAIN_PORT": str(port),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert "Redis" in ready.json()["checks"]["redis"]
            assert client.post("/api/v1/datasets", json={"name": "drums"}).status_code == 201
            assert client.get("/api/v1/workers").json() == {"workers": []}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
