"""Joining from the command line: tokens, what `spectrain worker` refuses, what `doctor` finds on a joined machine."""

from __future__ import annotations

import socket
import stat
import time
from pathlib import Path

import httpx
import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.access.views import NewTokenView, TokenListView, TokenView
from api.views import JoinRequest, ReleaseView, WorkerListView, WorkerView
from deploy import joining
from deploy.cli import doctor, kept_tokens
from deploy.cli.api_client import ApiClient, UnreachableError
from deploy.cli.exit_codes import ExitCode
from deploy.data_folder import JoinedServer, write_private
from deploy.joining import GrowingPause, redis_place, redis_trouble
from shared.events import DeviceStatus
from shared.version import VERSION
from tests.unit.deploy.conftest import CommandLine, FakeServer

TOKEN = TokenView(id=3, name="studio", role="worker", created_at=0.0)


def test_a_new_token_prints_the_line_to_paste_and_nothing_else_on_standard_output(
    server: FakeServer, spectrain: CommandLine
) -> None:
    made = NewTokenView(**TOKEN.model_dump(), secret="spt_x", command="python3 -c …", note="Start it with --host.")
    server.answers["POST tokens"] = made

    assert spectrain("token", "create", "--role", "worker", "--name", "studio", "--days", "7") == ExitCode.DONE

    assert "python3 -c …" in spectrain.out.splitlines()
    assert "Start it with --host." in spectrain.err
    assert server.bodies("POST", "tokens") == [{"role": "worker", "name": "studio", "days": 7.0}]


def test_a_token_says_what_it_is_for(server: FakeServer, spectrain: CommandLine) -> None:
    assert spectrain("token", "create") == ExitCode.WRONG_INPUT
    assert "--role" in spectrain.err
    assert server.requests == []


def test_tokens_are_listed_with_how_long_they_count_and_revoked(server: FakeServer, spectrain: CommandLine) -> None:
    old = TOKEN.model_copy(update={"id": 1, "name": "old", "expires_at": time.time() - 1})
    gone = TOKEN.model_copy(update={"id": 2, "name": "gone", "revoked_at": 1.0})
    server.answers["GET tokens"] = TokenListView(tokens=[TOKEN, gone, old])
    server.answers["POST tokens/3/revoke"] = TOKEN

    assert spectrain("token", "ls") == ExitCode.DONE
    lines = {line.split()[1]: line for line in spectrain.out.splitlines() if line}
    assert "for ever" in lines["studio"]
    assert "revoked" in lines["gone"]
    assert "expired" in lines["old"]
    assert spectrain("token", "revoke", "3") == ExitCode.DONE


WORKER = WorkerView(
    name="studio/cuda:0", host="studio", state="idle", device=DeviceStatus(name="cuda:0"), job_id=None,
    heartbeat_age_s=1.0, started_at=0.0, versions={"spectrain": VERSION}, system="", labels=["fast"], drained=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "route", "body"),
    [
        (["drain"], "drain", {}),
        (["resume"], "resume", {}),
        (["label", "fast", "quiet"], "labels", {"labels": ["fast", "quiet"]}),
        (["label"], "labels", {"labels": []}),
    ],
)
def test_a_worker_is_changed_by_its_name(
    server: FakeServer, spectrain: CommandLine, arguments: list[str], route: str, body: dict[str, list[str]]
) -> None:
    server.answers[f"POST workers/{route}"] = WORKER

    assert spectrain("workers", arguments[0], "studio/cuda:0", *arguments[1:]) == ExitCode.DONE

    assert server.bodies("POST", f"workers/{route}") == [{"worker": "studio/cuda:0", **body}]
    assert "studio/cuda:0" in spectrain.out


def test_workers_are_listed_with_what_people_decided_and_removed(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET workers"] = WorkerListView(workers=[WORKER])
    server.answers["POST workers/remove"] = WorkerListView(workers=[])

    assert spectrain("workers", "ls") == ExitCode.DONE
    assert "idle, drained" in spectrain.out
    assert "fast" in spectrain.out
    assert spectrain("workers", "remove", "studio/cuda:0") == ExitCode.DONE
    assert server.bodies("POST", "workers/remove") == [{"worker": "studio/cuda:0"}]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--server", "http://studio:8000"], "--token"),
        ([], "--device"),
        (["--device", "cpu", "--device", "cuda:0"], "--device"),
        (["--token", "t", "--device", "cuda:77"], "This machine has no cuda:77"),
    ],
)
def test_a_worker_that_cannot_work_is_told_why(
    spectrain: CommandLine, arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SPECTRAIN_TOKEN", raising=False)

    assert spectrain("worker", "--data", str(tmp_path), *arguments) == ExitCode.WRONG_INPUT
    assert why in spectrain.err


def test_a_joined_machine_keeps_what_it_joined_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "joined").mkdir()
    joined = JoinedServer(server="http://studio:8000", token="spt_x", redis=["studio:6379"])

    joined.write(tmp_path)

    assert JoinedServer.read(tmp_path) == joined
    assert stat.S_IMODE((tmp_path / "joined" / "server.json").stat().st_mode) == 0o600
    write_private(tmp_path / "joined" / "server.json", "[]")
    assert JoinedServer.read(tmp_path) is None


@pytest.mark.parametrize(
    ("url", "place"),
    [("redis://u:p@studio:6379/0", "studio:6379"), ("redis://u@[fd00::1]:70/0", "[fd00::1]:70")],
)
def test_places_are_told_without_secrets(url: str, place: str) -> None:
    assert redis_place(url) == place


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RedisConnectionError("Connection refused"), "firewall"),
        (RedisTimeoutError("Timeout"), "firewall"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "just started"),
        (AuthenticationError("WRONGPASS"), "asking for access again"),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "No space left on device"),
        (ResponseError("OOM command not allowed"), "disk and memory of the server"),
    ],
)
def test_only_a_redis_that_cannot_be_reached_is_told_as_a_matter_of_the_firewall(error: RedisError, told: str) -> None:
    text = redis_trouble("studio:6379", error)
    assert told in text
    assert ("firewall" in text) is (told == "firewall")


def test_an_api_that_answers_is_asked_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pause, asked = GrowingPause(), list[float]()
    for _ in range(200):
        if pause.over("no answer"):
            asked.append(now - 1_000.0)
        now += 2.0
    assert asked[:6] == [0.0, 2.0, 6.0, 14.0, 30.0, 62.0]
    assert asked[-1] - asked[-2] == joining._LONGEST_PAUSE_S
    assert pause.over("the machine is not known"), "another trouble, which asking may end"
    assert not pause.over("the machine is not known")
    pause.end()
    assert pause.over("the machine is not known")


def test_joining_waits_for_seconds_where_an_upload_waits_for_minutes() -> None:
    """Ctrl-C counts only once the request has ended."""
    limits: list[float] = []

    def hang(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out", request=request)

    with (
        ApiClient("http://studio:8000", token="t", transport=httpx.MockTransport(hang)) as client,
        pytest.raises(UnreachableError),
    ):
        client.join(JoinRequest(host="h", devices=["cpu"], versions={}, password_sha256="0" * 64))
    assert limits == [20.0]


class TestDoctor:
    """What it finds on a joined machine."""

    @pytest.fixture(autouse=True)
    def machine(self, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that joined the fake server."""

        def client(address: str, **options: str) -> ApiClient:
            return ApiClient(address, transport=httpx.MockTransport(server.handle), **options)

        monkeypatch.setattr(doctor, "ApiClient", client)
        monkeypatch.setattr(doctor, "_libraries", list)
        (tmp_path / "joined").mkdir()

    def look(self, data: Path, place: str) -> dict[str, doctor.Finding]:
        JoinedServer(server="http://studio:8000", token="spt_x", redis=[place]).write(data)
        return {finding.name: finding for finding in doctor._findings(data, "http://127.0.0.1:8000")}

    def test_all_is_well(self, server: FakeServer, tmp_path: Path) -> None:
        server.answers["GET join/wheel"] = ReleaseView(version=VERSION, file="f", sha256="", torch_index="")
        with socket.create_server(("127.0.0.1", 0)) as redis:
            found = self.look(tmp_path, f"127.0.0.1:{redis.getsockname()[1]}")

        assert found["Joined server"].fine
        assert found["Joined Redis"].fine
        assert server.requests[0].headers["Authorization"] == "Bearer spt_x"
        assert not {"Page", "Redis server", "Server"} & set(found), "a machine that only works needs none of these"

    def test_a_revoked_token_and_a_blocked_port_are_named(self, server: FakeServer, tmp_path: Path) -> None:
        server.answers["GET join/wheel"] = (401, {"error": "The token 'studio' was revoked: make a new one."})
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            found = self.look(tmp_path, f"127.0.0.1:{port}")

        assert "was revoked" in found["Joined server"].text
        assert not found["Joined Redis"].fine
        assert f"127.0.0.1:{port}" in found["Joined Redis"].text
        assert f"port {port}" in found["Joined Redis"].advice

    def test_another_version_is_told_to_run_the_line_again(self, server: FakeServer, tmp_path: Path) -> None:
        server.answers["GET join/wheel"] = ReleaseView(version="9.9", file="f", sha256="", torch_index="")
        found = self.look(tmp_path, "127.0.0.1:1")

        assert "9.9" in found["Joined server"].text
        assert "pasted line again" in found["Joined server"].advice

    def test_a_server_with_login_is_asked_with_the_token_that_was_kept(
        self, server: FakeServer, tmp_path: Path
    ) -> None:
        kept_tokens.keep_token("http://lab:8000", "spt_kept")
        server.answers["GET workers"] = WorkerListView(workers=[])
        found = {finding.name: finding for finding in doctor._findings(tmp_path, "http://lab:8000")}

        assert server.requests[0].headers["Authorization"] == "Bearer spt_kept"
        assert "no worker is online" in found["Server"].text
