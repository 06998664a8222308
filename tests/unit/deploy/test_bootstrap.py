"""The script of the pasted line: what it asks, installs, skips and goes on as. pip and venv are stand-ins."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from api.workers import bootstrap
from api.workers.bootstrap import Environment, JoinError, Server

WHEEL = b"a wheel"


class TwinServer:
    """Serves a release to the token `good`."""

    def __init__(self) -> None:
        self.release: dict[str, str] = {
            "version": "1.0", "file": "spectrain-1.0-py3-none-any.whl",
            "sha256": hashlib.sha256(WHEEL).hexdigest(), "torch_index": "",
        }  # fmt: skip
        self.constraints = "numpy==2.4.6\ntorch==2.13.0\n"
        twin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = self.headers["Authorization"] == "Bearer good"
                self.send_response(200 if good else 401)
                self.end_headers()
                refusal = b'{"error": "The token was revoked: make a new one."}'
                self.wfile.write(twin.answer(self.path.removeprefix("/api/v1/join/")) if good else refusal)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                del code, size

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever)
        self._thread.start()

    def answer(self, path: str) -> bytes:
        if path == "wheel":
            return json.dumps(self.release).encode()
        return self.constraints.encode() if path == "constraints" else WHEEL

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Steps:
    """What would have been done, instead of venv and pip."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        self.failing = False
        monkeypatch.setattr(bootstrap.venv, "create", self._create)
        monkeypatch.setattr(bootstrap.subprocess, "run", self._run)

    def _create(self, folder: Path, **options: bool) -> None:
        assert options["clear"]
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        self.taken.append("venv")

    def _run(self, command: list[Any], **_: Any) -> subprocess.CompletedProcess[bytes]:
        if "pip" in command:
            self.taken.append(
                " ".join(Path(part).name if "/" in part and ":" not in part else part for part in command[3:])
            )
        return subprocess.CompletedProcess(command, int(self.failing and "install" in command))

    def take(self) -> list[str]:
        taken, self.taken = self.taken, []
        return taken


@pytest.fixture
def server() -> Iterator[TwinServer]:
    server = TwinServer()
    yield server
    server.close()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


INSTALL = "install --constraint constraints.txt spectrain-1.0-py3-none-any.whl"


def install(server: TwinServer, data: Path, torch_index: str | None = None) -> None:
    Environment(data).install(Server(server.address, "good"), torch_index)


def test_everything_is_installed_once(server: TwinServer, steps: Steps, tmp_path: Path) -> None:
    install(server, tmp_path)
    assert steps.take() == ["venv", INSTALL]

    install(server, tmp_path)
    assert steps.take() == []


def test_a_server_that_changed_is_followed(server: TwinServer, steps: Steps, tmp_path: Path) -> None:
    install(server, tmp_path)
    steps.take()

    server.constraints += "scipy==1.0\n"
    install(server, tmp_path)

    assert steps.take() == ["uninstall --yes --quiet spectrain", INSTALL]


def test_torch_comes_from_the_index_of_the_server_or_of_the_line(
    server: TwinServer, steps: Steps, tmp_path: Path
) -> None:
    server.release["torch_index"] = "https://example.org/cpu"
    install(server, tmp_path)
    assert steps.take() == ["venv", "install --extra-index-url https://example.org/cpu torch==2.13.0", INSTALL]

    install(server, tmp_path, torch_index="")
    assert steps.take() == ["uninstall --yes --quiet spectrain torch", INSTALL]


def test_what_failed_or_was_cut_off_is_made_anew(server: TwinServer, steps: Steps, tmp_path: Path) -> None:
    steps.failing = True
    with pytest.raises(JoinError, match="Run the line again"):
        install(server, tmp_path)
    steps.failing = False
    steps.take()

    install(server, tmp_path)

    assert steps.take() == ["venv", INSTALL]


def test_a_wheel_that_came_damaged_is_not_installed(server: TwinServer, steps: Steps, tmp_path: Path) -> None:
    server.release["sha256"] = "0" * 64

    with pytest.raises(JoinError, match="damaged"):
        install(server, tmp_path)

    assert steps.take() == ["venv"]


def test_refusals_are_the_servers_own_sentences(server: TwinServer) -> None:
    with pytest.raises(JoinError, match=r"^The token was revoked: make a new one\.$"):
        Server(server.address, "bad").get("wheel")


def test_a_server_that_is_away_is_named() -> None:
    with pytest.raises(JoinError, match=r"No server answers at http://127\.0\.0\.1:9 .*firewall"):
        Server("http://127.0.0.1:9", "good").get("wheel")


def test_it_goes_on_as_the_worker_with_the_rest_of_the_line(
    server: TwinServer, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command))
    monkeypatch.setenv("SPECTRAIN_TOKEN", "")

    bootstrap.main(
        [
            "--server",
            f"{server.address}/",
            "--token",
            "good",
            "--data",
            str(tmp_path),
            "--device",
            "cpu",
            "--label",
            "a",
        ]
    )

    command = [str(tmp_path / "joined" / "venv" / "bin" / name) for name in ("python", "spectrain")]
    options = ["--server", server.address, "--data", str(tmp_path), "--device", "cpu", "--label", "a"]
    assert became == [[*command, "worker", *options]]
    assert os.environ["SPECTRAIN_TOKEN"] == "good"
    assert steps.take()[0] == "venv"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--token", "t"], "--server"),
        (["--server", "studio:8000", "--token", "t"], "http://"),
        (["--server", "http://studio:8000"], "token create --role worker"),
    ],
)
def test_what_the_line_lacks_is_said(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPECTRAIN_TOKEN", raising=False)

    with pytest.raises(SystemExit) as end:
        bootstrap.parse(arguments)

    assert end.value.code == 2
    assert why in capsys.readouterr().err
