"""Joining over HTTP: script, wheel, refusals, addresses. Redis' users are tested on the real server."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
import zipfile
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from redis import Redis

from api.access.tokens import Tokens
from api.record.tables import Token, Worker
from api.views import JoinRequest
from api.workers import bootstrap
from api.workers.invitation import join_command, server_address
from api.workers.join import JoinedWorkers, redis_address, worker_names
from api.workers.online import access_warning
from api.workers.redis_users import escaped, user_name, user_rules
from api.workers.release import make_wheel, this_release
from shared.errors import ConfigError
from shared.event_bus import WORKER_KEY
from shared.settings import Settings
from shared.version import VERSION
from tests.unit.api.conftest import TwinCore, TwinRedis

SHA256 = "ab" * 32
REQUEST: dict[str, Any] = {
    "host": "studio",
    "devices": ["cpu"],
    "versions": {"spectrain": VERSION, "python": "3.11.2", "torch": "2.13.0"},
    "password_sha256": SHA256,
}


@pytest.fixture
def secret(core: TwinCore) -> str:
    return Tokens(core.database).create(name="studio").secret


def as_bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def join(client: FlaskClient, secret: str, **changes: Any) -> Any:
    return client.post("/api/v1/join", json={**REQUEST, **changes}, headers=as_bearer(secret))


def test_the_script_is_served_to_everybody_and_holds_no_secret(client: FlaskClient) -> None:
    answer = client.get("/join")

    assert answer.status_code == 200
    assert answer.data == Path(bootstrap.__file__).read_bytes()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "join/wheel"), ("GET", "join/wheel/x"), ("GET", "join/constraints"), ("POST", "join")]
)
def test_everything_else_needs_a_token(client: FlaskClient, method: str, path: str) -> None:
    body = REQUEST if method == "POST" else None
    for headers in ({}, as_bearer("spt_wrong")):
        answer = client.open(f"/api/v1/{path}", method=method, json=body, headers=headers)
        assert answer.status_code == 401
        assert "token" in answer.json["error"]


def test_a_machine_installs_what_runs_here(client: FlaskClient, secret: str) -> None:
    release = client.get("/api/v1/join/wheel", headers=as_bearer(secret)).json
    wheel = client.get(f"/api/v1/join/wheel/{release['file']}", headers=as_bearer(secret))
    constraints = client.get("/api/v1/join/constraints", headers=as_bearer(secret))

    assert release["sha256"] == this_release().sha256
    assert b"\ntorch==2.13.0\n" in constraints.data
    names = zipfile.ZipFile(BytesIO(wheel.data)).namelist()
    assert {"worker/service.py", "shared/version.py", "deploy/constraints.txt"} <= set(names)
    assert not any(name.startswith("api/web") or "__pycache__" in name for name in names)
    assert client.get("/api/v1/join/wheel/other.whl", headers=as_bearer(secret)).status_code == 404


def test_pip_takes_the_wheel_without_network_and_its_command_runs(tmp_path: Path) -> None:
    release = this_release()
    (tmp_path / release.file_name).write_bytes(release.wheel)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", site, tmp_path / release.file_name], check=True, timeout=120)

    environment = {**os.environ, "PYTHONPATH": str(site)}
    shown = subprocess.run(
        [sys.executable, site / "bin" / "spectrain", "--version"],
        check=True, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path,
    )  # fmt: skip

    assert release.version in shown.stdout


def test_the_same_content_makes_the_same_wheel(tmp_path: Path) -> None:
    for name in ("shared", "worker", "api", "deploy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    installed = distribution("spectrain")
    first = make_wheel(installed, tmp_path)
    (tmp_path / "shared" / "__init__.py").touch()

    assert make_wheel(installed, tmp_path) == first
    (tmp_path / "shared" / "__init__.py").write_text("changed = True\n")
    assert make_wheel(installed, tmp_path) != first


def test_a_machine_gets_what_its_workers_need(client: FlaskClient, core: TwinCore, secret: str) -> None:
    answer = join(client, secret, devices=["cuda:0", "cuda:1", "cuda:0"]).json

    assert [worker["name"] for worker in answer["workers"]] == ["studio/cuda:0", "studio/cuda:1"]
    assert answer["settings"]["lease_s"] == core.settings.lease_s
    assert answer["storage_url"] == ""
    with core.database.reading() as session:
        row = session.get(Worker, "studio/cuda:1")
        assert row is not None
        assert (row.token_id, row.redis_sha256) == (1, SHA256)


def test_another_version_is_told_to_run_the_line_again(client: FlaskClient, secret: str) -> None:
    answer = join(client, secret, versions={"spectrain": "0.0.9"})

    assert answer.status_code == 422
    assert "run the pasted line again" in answer.json["error"]


def test_another_torch_is_only_warned_of(client: FlaskClient, secret: str) -> None:
    versions = {**REQUEST["versions"], "torch": "2.12.1"}
    (warning,) = [text for text in join(client, secret, versions=versions).json["warnings"] if "torch" in text]

    assert "2.12.1" in warning
    assert not [text for text in join(client, secret).json["warnings"] if "torch" in text]


def test_a_name_at_work_is_refused_to_others_but_not_to_itself(
    client: FlaskClient, core: TwinCore, secret: str
) -> None:
    assert join(client, secret).status_code == 200
    cast(TwinRedis, core.joined._redis).alive.add(f"{WORKER_KEY}studio/cpu")
    other = Tokens(core.database).create(name="other").secret

    assert join(client, secret).status_code == 200, "asking again changes nothing"
    for answer in (join(client, other), join(client, secret, password_sha256="cd" * 32)):
        assert answer.status_code == 409
        assert "studio/cpu" in answer.json["error"]
        assert "--name" in answer.json["error"]
    assert join(client, other, name="attic").json["workers"][0]["name"] == "attic"


@pytest.mark.parametrize(
    "change",
    [
        {"host": "a b"},
        {"host": "a*"},
        {"host": ""},
        {"name": "x:attempt:1"},
        {"name": "*"},
        {"name": "a\n"},
        {"devices": ["gpu"]},
        {"devices": ["cpu\n"]},
        {"password_sha256": "x"},
        {"unknown": 1},
    ],
)
def test_what_could_reach_beyond_a_name_is_refused(client: FlaskClient, secret: str, change: dict[str, Any]) -> None:
    assert join(client, secret, **change).status_code == 422


def test_a_revoked_token_takes_its_workers_along(client: FlaskClient, core: TwinCore, secret: str) -> None:
    join(client, secret)

    client.post("/api/v1/tokens/1/revoke")

    assert core.joined._wanted() == {}
    assert join(client, secret).status_code == 401


def test_workers_of_a_token_that_ended_get_no_more_work(client: FlaskClient, core: TwinCore, secret: str) -> None:
    """Also where Redis has no users of their own that could be taken away."""
    cut: list[str] = []
    core.joined.cut_off = cut.append
    short = Tokens(core.database).create(name="short", expires_at=time.time() + 0.5).secret
    join(client, secret)
    assert join(client, short, name="attic").status_code == 200
    core.joined.work()
    assert cut == []
    client.post("/api/v1/tokens/1/revoke")
    assert cut == ["studio/cpu"]
    with core.database.session() as session:
        session.get_one(Token, 2).expires_at = time.time() - 1.0
    core.joined.work()
    assert sorted(cut[1:]) == ["attic", "studio/cpu"]


@pytest.mark.parametrize(
    ("hours", "said"), [(None, ""), (24 * 20, ""), (24 * 3, "in 3 days"), (30, "in 30 hours"), (0.2, "in an hour")]
)
def test_a_token_that_ends_soon_is_told_there_and_with_its_worker(
    client: FlaskClient, core: TwinCore, hours: float | None, said: str
) -> None:
    ends_at = None if hours is None else time.time() + hours * 3600
    answer = join(client, Tokens(core.database).create(name="short", expires_at=ends_at).secret)
    told: dict[str, float] = {}
    core.joined.access_ends = told.update
    core.joined.work()

    assert told == ({} if ends_at is None else {"studio/cpu": ends_at})
    [warning] = answer.json["warnings"] or [""]
    assert warning == access_warning(ends_at)
    assert said in warning
    assert bool(said) is bool(warning)


def test_a_machine_that_was_removed_comes_back_only_when_it_is_started_again(
    client: FlaskClient, core: TwinCore, secret: str
) -> None:
    join(client, secret)
    core.joined.forget_worker("studio/cpu")

    answer = join(client, secret)

    assert answer.status_code == 409
    assert "was removed on the server: start it again" in answer.json["error"]
    assert join(client, secret, password_sha256="cd" * 32).status_code == 200, "a new start makes a new password"


def test_names_are_made_of_host_and_device_unless_one_is_given() -> None:
    request = JoinRequest.model_validate({**REQUEST, "devices": ["cuda:0", "cuda:1"]})
    named = request.model_copy(update={"name": "rack/left"})

    assert worker_names(request, ["cuda:0", "cuda:1"]) == ["studio/cuda:0", "studio/cuda:1"]
    assert worker_names(named, ["cuda:0", "cuda:1"]) == ["rack/left/cuda:0", "rack/left/cuda:1"]
    assert worker_names(named, ["cuda:0"]) == ["rack/left"]


def test_patterns_name_one_worker_alone() -> None:
    rules = user_rules("studio/cuda:1")

    assert "~spectrain:for:studio/cuda:1:attempt:*" in rules
    assert "~spectrain:worker:studio/cuda:1" in rules
    assert "~device.studio/cuda:1" in rules
    assert not {"~*", "&*", "allkeys", "~spectrain:*", "~spectrain:for:*"} & set(rules)
    assert escaped("a[b]*c?d\\") == "a\\[b\\]\\*c\\?d\\\\"
    assert user_name("a") != user_name("b")


KEEPER = {"redis_keeper_url": "redis://keeper:x@127.0.0.1:7000/0"}


@pytest.mark.parametrize(
    ("settings", "reached_as", "url"),
    [
        (KEEPER, "127.0.0.1", "redis://127.0.0.1:7000/0"),
        (KEEPER | {"host": "0.0.0.0"}, "studio.local", "redis://studio.local:7000/0"),
        (KEEPER | {"host": "192.168.1.5"}, "studio", "redis://studio:7000/0"),
        (KEEPER | {"host": "0.0.0.0", "redis_host": "10.8.0.1"}, "studio", "redis://10.8.0.1:7000/0"),
        (KEEPER | {"host": "::"}, "fd00::1", "redis://[fd00::1]:7000/0"),
        ({"redis_url": "rediss://u:p@cloud:6380/0"}, "studio", "rediss://u:p@cloud:6380/0"),
    ],
)
def test_redis_is_told_by_the_name_that_the_api_was_reached_by(
    settings: dict[str, str], reached_as: str, url: str
) -> None:
    assert redis_address(Settings(**cast(Any, settings)), reached_as) == url


@pytest.mark.parametrize("settings", [KEEPER, KEEPER | {"host": "0.0.0.0", "redis_host": "127.0.0.1"}, {}])
def test_a_redis_out_of_reach_is_refused_with_what_to_do(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"start it with|REDIS_URL"):
        redis_address(Settings(**cast(Any, settings)), "studio")


def test_a_new_token_comes_with_the_line_to_paste(client: FlaskClient) -> None:
    made = client.post("/api/v1/tokens", json={}, base_url="http://127.0.0.1:8000").json

    assert made["command"] == join_command("http://127.0.0.1:8000", made["secret"])
    assert "--host" in made["note"]


@pytest.mark.parametrize(
    ("host", "asked_as", "origin", "server"),
    [
        ("192.168.1.5", "http://192.168.1.5:8000/", "", "http://192.168.1.5:8000"),
        ("192.168.1.5", "http://127.0.0.1:8000/", "", "http://192.168.1.5:8000"),
        ("0.0.0.0", "http://studio:8000/", "https://studio:8000", "https://studio:8000"),
    ],
)
def test_the_line_names_the_address_that_others_reach(host: str, asked_as: str, origin: str, server: str) -> None:
    assert server_address(Settings(host=host), asked_as, origin) == (server, "")


def test_the_line_runs_the_script_with_its_arguments(tmp_path: Path) -> None:
    """As a shell runs it, with a file in the server's place."""
    (tmp_path / "join").write_text("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    line = join_command(f"file://{tmp_path}", "spt_a'b").replace("python3", sys.executable, 1)

    told = subprocess.run(line, shell=True, check=True, capture_output=True, text=True, timeout=60).stdout

    assert json.loads(told) == ["--server", f"file://{tmp_path}", "--token", "spt_a'b"]


def test_an_old_python_reads_the_script_far_enough_to_say_so() -> None:
    source = Path(bootstrap.__file__).read_text()
    ast.parse(source, feature_version=(3, 7))
    old = "import sys; sys.version_info = (3, 9, 2)\nexec(sys.stdin.read())"

    ended = subprocess.run([sys.executable, "-c", old], input=source, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "needs Python 3.11 or newer, and this is Python 3.9.2" in ended.stderr


def test_work_without_a_keeper_does_nothing(core: TwinCore) -> None:
    JoinedWorkers(settings=core.settings, database=core.database, redis=cast(Redis, TwinRedis())).work()
