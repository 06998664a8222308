"""Logging in from the command line, tokens for people, and the first one of all."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import httpx
import pytest

from api.access.first import first_admin
from api.access.roles import Role
from api.access.tokens import Tokens
from api.access.views import NewTokenView, SessionView
from api.datasets.views import DatasetListView
from api.record.database import Database
from deploy.cli import kept_tokens
from deploy.cli.exit_codes import ExitCode
from shared.settings import Settings
from tests.unit.deploy.conftest import CommandLine, FakeServer

LAB = "http://192.0.2.7:8000"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    """A token that comes on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("spt_mine\n"))
    server.answers["GET session"] = SessionView(role="member", name="ann")
    server.answers["GET datasets"] = DatasetListView(datasets=[])


def shown(server: FakeServer) -> str:
    """The token of the newest request."""
    return server.requests[-1].headers.get("Authorization", "")


@pytest.mark.usefixtures("typed")
def test_a_token_is_kept_for_its_server_alone(server: FakeServer, spectrain: CommandLine) -> None:
    assert spectrain("login", LAB) == ExitCode.DONE
    assert "as ann (member)" in spectrain.out
    assert "encrypted" in spectrain.err
    assert "spt_mine" not in spectrain.out + spectrain.err

    spectrain("--server", LAB, "dataset", "ls")
    assert shown(server) == "Bearer spt_mine"
    for other in ("http://192.0.2.7:8001", "https://192.0.2.7:8000", "http://192.0.2.8:8000"):
        spectrain("--server", other, "dataset", "ls")
        assert shown(server) == ""

    assert spectrain("logout", LAB) == ExitCode.DONE
    spectrain("--server", LAB, "dataset", "ls")
    assert shown(server) == ""


@pytest.mark.usefixtures("typed")
def test_who_logged_in_elsewhere_is_reminded_where(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GET jobs"] = httpx.ConnectError("refused")
    assert spectrain("jobs", "ls") == ExitCode.UNREACHABLE
    assert "logged in" not in spectrain.err
    spectrain("login", LAB)
    assert f"export SPECTRAIN_SERVER={LAB}" in spectrain.out
    assert spectrain("jobs", "ls") == ExitCode.UNREACHABLE
    assert f"You are logged in at {LAB}: --server {LAB}." in spectrain.err
    assert spectrain("--server", "http://192.0.2.9:8000", "jobs", "ls") == ExitCode.UNREACHABLE
    assert "logged in" not in spectrain.err, "that server was meant"
    monkeypatch.setenv("SPECTRAIN_SERVER", LAB)
    monkeypatch.setattr("sys.stdin", io.StringIO("spt_mine\n"))
    spectrain("login")
    assert "export" not in spectrain.out


@pytest.mark.usefixtures("typed")
def test_nobody_else_can_read_the_kept_token(spectrain: CommandLine) -> None:
    spectrain("login", LAB)
    path = kept_tokens.tokens_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    assert spectrain("--server", LAB, "dataset", "ls") == ExitCode.WRONG_INPUT
    assert "chmod 600" in spectrain.err


@pytest.mark.usefixtures("typed")
def test_a_worthless_token_is_not_kept(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET session"] = (401, {"error": "This token is not known here.", "field": ""})
    assert spectrain("login", LAB) == ExitCode.WRONG_INPUT
    assert "not known" in spectrain.err
    assert not kept_tokens.tokens_path().exists()


def test_the_environment_goes_before_the_file(
    server: FakeServer, spectrain: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_tokens.keep_token(LAB, "spt_kept")
    monkeypatch.setenv("SPECTRAIN_TOKEN", "spt_set")
    spectrain("--server", LAB, "dataset", "ls")
    assert shown(server) == "Bearer spt_set"


def test_who_shows_no_token_is_told_how_to_log_in(server: FakeServer, spectrain: CommandLine) -> None:
    server.answers["GET datasets"] = (401, {"error": "Log in first.", "field": ""})
    assert spectrain("--server", LAB, "dataset", "ls") == ExitCode.WRONG_INPUT
    assert f"spectrain login {LAB}" in spectrain.err


def test_a_token_for_a_person_is_shown_once(server: FakeServer, spectrain: CommandLine) -> None:
    made = NewTokenView(id=4, name="ann", role="member", created_at=0.0, secret="spt_ann")
    server.answers["POST tokens"] = made
    assert spectrain("token", "create", "--role", "member", "--name", "ann") == ExitCode.DONE
    assert "spt_ann" in spectrain.out.splitlines()
    assert server.bodies("POST", "tokens") == [{"role": "member", "name": "ann", "days": 30.0}]


def test_who_lost_the_last_token_makes_one_in_the_data_folder(
    server: FakeServer, spectrain: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert spectrain("token", "create", "--role", "admin", "--data", str(tmp_path)) == ExitCode.WRONG_INPUT
    assert list(tmp_path.glob("record*")) == [], "nothing is begun in a folder that is no data folder"
    first_admin(Settings(data=tmp_path, host="192.0.2.7"))
    assert spectrain("token", "create", "--role", "admin", "--data", str(tmp_path), "--json") == ExitCode.DONE
    secret = spectrain.json()["secret"]
    assert server.requests == []
    database = Database(Settings(data=tmp_path).record_url)
    assert Tokens(database).holder(secret).role is Role.ADMIN
    database.close()


def test_the_first_token_is_made_once_and_only_where_people_log_in(tmp_path: Path) -> None:
    assert first_admin(Settings(data=tmp_path)) == ""
    network = Settings(data=tmp_path, host="192.0.2.7")
    secret = first_admin(network)
    assert secret.startswith("spt_")
    assert first_admin(network) == ""
    database = Database(network.record_url)
    tokens = Tokens(database)
    token_id = tokens.holder(secret).token_id
    assert token_id is not None
    tokens.revoke(token_id)
    database.close()
    assert secret.encode() not in (tmp_path / "record.db").read_bytes()
    assert first_admin(network) != "", "nobody could log in any more"


def test_a_token_goes_to_no_other_server_that_an_answer_names(server: FakeServer, spectrain: CommandLine) -> None:
    kept_tokens.keep_token(LAB, "spt_kept")
    seen: list[str] = []

    def move(request: httpx.Request) -> tuple[int, dict[str, str]]:
        seen.append(str(request.url))
        return 307, {"error": "elsewhere"}

    server.answers["GET datasets"] = move
    assert spectrain("--server", LAB, "dataset", "ls") != ExitCode.DONE
    assert len(seen) == 1
