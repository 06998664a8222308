"""What the README says under "On your network", step by step: a server that others reach, a login, a second machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as RefusedError

from shared.addresses import is_loopback, own_address
from tests.conftest import missing
from tests.sounds import write_sounds
from tests.system import ROOT, SMALL, free_port

READY_S = 120.0
TRAINED_S = 240.0
TOKEN = re.compile(r"^spt_[\w-]+$", re.MULTILINE)


@dataclass
class Person:
    """Somebody at a terminal, with a home of their own."""

    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPECTRAIN_", "XDG_"))}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}

    def begin(self, arguments: Sequence[str], said: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on."""
        with said.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", *arguments],
                cwd=self.home, env=self.environment(**environment), stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def types(self, *arguments: str, typed: str = "", **environment: str) -> str:
        """Run a command that must succeed; returns what it wrote on standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            cwd=self.home, env=self.environment(**environment), input=typed, capture_output=True, text=True,
            timeout=READY_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass
class Lab:
    """A server that others reach, as its person started it."""

    person: Person
    url: str
    data: Path
    said: Path
    first_token: str

    def get(self, path: str, token: str = "", *, prefix: str = "/api/v1") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"{self.url}{prefix}{path}", headers=headers, trust_env=False, timeout=30.0)


def wait_for(process: subprocess.Popen[bytes], said: Path, words: str, limit_s: float = READY_S) -> str:
    """Until a process at another terminal has said so."""
    deadline = time.monotonic() + limit_s
    while words not in (text := said.read_text()):
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    address = own_address()
    if address[:1].isalpha() or is_loopback(address):
        missing("This machine has no address in a network.")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    person, said, port = Person(folder / "home"), folder / "said.txt", free_port()
    arguments = ["up", "--host", address, "--port", str(port), "--device", "cpu", "--data", str(folder / "data")]
    process = person.begin(arguments, said)
    try:
        wait_for(process, said, "Spectrain is ready")
        [token] = TOKEN.findall(wait_for(process, said, "spt_"))
        yield Lab(person, f"http://{address}:{port}", folder / "data", said, token)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_S) == 0, said.read_text()


def test_nobody_gets_in_without_a_token(lab: Lab) -> None:
    assert lab.get("/jobs").status_code == 401
    assert lab.get("/metrics", prefix="").status_code == 401
    assert lab.get("/healthz", prefix="").json() == {"status": "ok"}
    with pytest.raises(RefusedError):
        socketio.Client(reconnection=False).connect(lab.url)
    page = lab.get("/", prefix="")
    assert (page.status_code, page.headers["Location"]) == (303, "/login")


def test_a_second_machine_joins_with_login_on_and_trains(lab: Lab, tmp_path: Path) -> None:
    said = lab.person.types("login", lab.url, typed=f"{lab.first_token}\n")
    assert "(admin)" in said
    [kept] = lab.person.home.rglob("tokens.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    there = {"SPECTRAIN_SERVER": lab.url}
    line = lab.person.types("token", "create", "--role", "worker", "--name", "attic", **there)
    [command] = [text for text in line.splitlines() if text.startswith("python3 -c")]
    words = shlex.split(command)
    assert words[words.index("--server") + 1] == lab.url
    token = words[words.index("--token") + 1]
    script = httpx.get(f"{lab.url}/join", trust_env=False)
    assert script.is_success
    assert token not in script.text

    # What the pasted line does once it has installed everything, in another home.
    (tmp_path / "attic").mkdir()
    other, joined = Person(tmp_path / "attic"), tmp_path / "joined.txt"
    arguments = ["worker", *words[words.index("--server") :], "--name", "attic", "--device", "cpu"]
    machine = other.begin(arguments, joined, SPECTRAIN_DATA=str(tmp_path / "attic" / "data"))
    try:
        wait_for(machine, joined, "Serving")
        job = train_on(lab, "attic", write_sounds(tmp_path / "sounds", 8)[0].parent)
        assert (job["state"], job["worker"]) == ("completed", "attic")
        [listed] = [each for each in tokens(lab) if each["name"] == "attic"]
        assert listed["last_used_at"] is not None
        lab.person.types("token", "revoke", str(listed["id"]), **there)
        assert machine.wait(READY_S) != 0, joined.read_text()
        assert "revoked" in joined.read_text()
    finally:
        if machine.poll() is None:
            machine.send_signal(signal.SIGTERM)
            machine.wait(READY_S)
    for log in (lab.data / "logs").iterdir():
        for secret in (lab.first_token, token):
            assert secret not in log.read_text(), f"{log} tells a secret"
    assert lab.first_token.encode() not in (lab.data / "record.db").read_bytes()


def train_on(lab: Lab, worker: str, sounds: Path) -> dict[str, Any]:
    """Add sounds and train, with the server's own worker drained; returns the job in the end."""
    there = {"SPECTRAIN_SERVER": lab.url}
    deadline = time.monotonic() + READY_S
    while len(lab.get("/workers", lab.first_token).json()["workers"]) < 2:
        assert time.monotonic() < deadline, "one that is not known yet could not be drained"
        time.sleep(0.05)
    for each in json.loads(lab.person.types("workers", "ls", "--json", **there))["workers"]:
        if each["name"] != worker:
            lab.person.types("workers", "drain", each["name"], **there)
    lab.person.types("dataset", "add", "sounds", str(sounds), **there)
    changes = {**SMALL, "epochs": 2}
    with httpx.Client(
        base_url=f"{lab.url}/api/v1", headers={"Authorization": f"Bearer {lab.first_token}"}, trust_env=False
    ) as http:
        made = http.post("/jobs", json={"kind": "train", "dataset": "sounds", "changes": changes})
        assert made.status_code == httpx.codes.CREATED, made.text
        number = made.json()["id"]
        # A program that follows the job live, as the page does, with a member's token.
        member = http.post("/tokens", json={"role": "member"}).json()["secret"]
    follow(lab, member, number)
    job: dict[str, Any] = lab.get(f"/jobs/{number}", member).json()
    return job


def follow(lab: Lab, token: str, number: int) -> None:
    """Until a job has ended, by what the live connection tells."""
    client = socketio.SimpleClient()
    client.connect(lab.url, headers={"Authorization": f"Bearer {token}"})
    try:
        assert client.call("watch_queue", {}) == {"ok": True}
        deadline = time.monotonic() + TRAINED_S
        while lab.get(f"/jobs/{number}", token).json()["state"] not in ("completed", "failed"):
            assert time.monotonic() < deadline, lab.get(f"/jobs/{number}", token).text
            client.receive(timeout=TRAINED_S)
    finally:
        client.disconnect()


def tokens(lab: Lab) -> list[dict[str, Any]]:
    return lab.get("/tokens", lab.first_token).json()["tokens"]
