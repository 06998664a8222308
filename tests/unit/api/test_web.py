"""What holds for every answer: who may ask, headers, compression, the page, faults that nobody expected."""

from __future__ import annotations

import gzip
import json
import socket
import sqlite3
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from flask_socketio import SocketIO
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy.exc import OperationalError

from api.guard import Guard
from shared.addresses import is_loopback
from tests.unit.api.conftest import TwinCore

JOB_PAGE = "src/pages/job/JobPage.tsx"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A built page."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>Spectrain</title>")
    (dist / "assets" / "app-1a2b.js").write_text("export const answer = 42;\n" * 200)
    return dist


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).get_json() == {"status": "ok"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "192.168.0.7:8000", "", "[::1", "a@b"])
def test_other_names_are_refused(client: FlaskClient, host: str) -> None:
    for path in ("/healthz", "/", "/socket.io/?EIO=4&transport=polling"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.mimetype) == (403, "application/json")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(client: FlaskClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/v1/datasets", json={"name": "drums"}, headers=headers).status_code == status
    assert client.get("/api/v1/datasets", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("lab", False)],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_on_a_network_only_addresses_and_own_names_are_answered(app: OpenAPI) -> None:
    app.wsgi_app = Guard(app.wsgi_app._application._application, host="0.0.0.0", allowed_hosts=["lab.example"])
    client = app.test_client()

    def status(host: str, **headers: str) -> int:
        return client.get("/healthz", headers={"Host": host, **headers}).status_code

    assert status("192.168.1.5:8000") == status("[fd00::1]:8000") == 200
    assert status(f"{socket.gethostname()}:8000") == status("lab.example:8000") == 200
    assert status("evil.example:8000") == 403, "a hostile name server could point its name here"
    foreign = client.post("/api/v1/datasets", headers={"Host": "192.168.1.5:8000", "Origin": "http://evil.example"})
    own = client.post("/api/v1/datasets", headers={"Host": "192.168.1.5:8000", "Origin": "http://192.168.1.5:8000"})
    assert (foreign.status_code, own.status_code != 403) == (403, True)


def test_every_answer_has_the_security_headers(client: FlaskClient) -> None:
    for path in ("/", "/api/v1/jobs", "/nothing", "/api/v1/nothing"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_long_text_is_compressed_for_those_who_can(client: FlaskClient) -> None:
    packed = client.get("/openapi.json", headers={"Accept-Encoding": "br, gzip"})
    plain = client.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 4
    assert "Content-Encoding" not in client.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers


def test_a_page_that_is_not_built_is_explained(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "npm run build" in answer.text


@pytest.mark.usefixtures("dist")
def test_the_page_answers_every_address_of_its_own(client: FlaskClient) -> None:
    for path in ("/", "/jobs/7", "/datasets/my%20drums"):
        answer = client.get(path)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert answer.headers["Cache-Control"] == "no-cache"
    assert client.post("/jobs/7").status_code == 404
    assert client.get("/assets/../../data/record.db").status_code == 404


def test_the_page_of_a_job_has_what_it_needs_asked_for_at_once(client: FlaskClient, dist: Path) -> None:
    assert "Link" not in client.get("/jobs/7").headers, "an older build has no manifest"
    chunks = {
        "index.html": {"file": "assets/index-1.js", "isEntry": True, "imports": ["_app.js"]},
        "_app.js": {"file": "assets/app-1.js", "dynamicImports": [JOB_PAGE]},
        JOB_PAGE: {"file": "assets/JobPage-1.js", "imports": ["_app.js", "_charts.js"], "css": ["assets/charts-1.css"]},
        "_charts.js": {"file": "assets/charts-1.js", "imports": ["_app.js"]},
        "src/pages/models/ModelsPage.tsx": {"file": "assets/ModelsPage-1.js", "imports": ["_app.js"]},
    }
    (dist / "manifest.json").write_text(json.dumps(chunks))
    assert client.get("/jobs/7?tab=log").headers["Link"].split(", ") == [
        "</assets/JobPage-1.js>; rel=modulepreload",
        "</assets/charts-1.css>; rel=preload; as=style; crossorigin",
        "</assets/charts-1.js>; rel=modulepreload",
        "</api/v1/jobs/7>; rel=preload; as=fetch; crossorigin",
        "</api/v1/jobs/7/history>; rel=preload; as=fetch; crossorigin",
    ]
    for other in ("/", "/jobs/007", "/jobs/7/edit", "/jobs/x", "/models"):
        assert "Link" not in client.get(other).headers


@pytest.mark.usefixtures("dist")
def test_assets_are_packed_and_kept_for_good(client: FlaskClient) -> None:
    answer = client.get("/assets/app-1a2b.js", headers={"Accept-Encoding": "gzip"})
    assert answer.mimetype == "text/javascript"
    assert "immutable" in answer.headers["Cache-Control"]
    assert gzip.decompress(answer.data).startswith(b"export const answer")
    again = client.get(
        "/assets/app-1a2b.js", headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304


def test_readiness_names_what_is_wrong(client: FlaskClient, core: TwinCore) -> None:
    assert client.get("/readyz").get_json() == {"status": "ok", "checks": {"redis": "", "record": ""}}
    core.checks = {"redis": "Redis does not answer", "record": ""}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["checks"]["redis"]) == (503, "Redis does not answer")


def _database_error(message: str) -> OperationalError:
    return OperationalError("INSERT", {}, sqlite3.OperationalError(message))


@pytest.mark.parametrize(
    ("fault", "answered"),
    [
        (ZeroDivisionError("secret"), (500, "Something went wrong in the api; its log has the details.")),
        (PermissionError("secret"), (500, "Something went wrong in the api; its log has the details.")),
        (RedisConnectionError("secret"), (503, "Redis does not answer: try again in a moment.")),
        (_database_error("database or disk is full"), (507, "The disk is full: free some space and try again.")),
        (_database_error("unable to open secret"), (503, "The record does not answer: try again in a moment.")),
    ],
)
def test_a_fault_is_answered_without_internals(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch, fault: Exception, answered: tuple[int, str]
) -> None:
    def fail(**_: Any) -> NoReturn:
        raise fault

    monkeypatch.setattr(core.jobs, "list", fail)
    answer = client.get("/api/v1/jobs")
    assert answer.mimetype == "application/json"
    assert (answer.status_code, answer.get_json()["error"]) == answered


@pytest.mark.usefixtures("drums")
def test_a_watcher_hears_of_its_job_alone(served: tuple[OpenAPI, SocketIO], core: TwinCore) -> None:
    app, sockets = served
    app.test_client().post("/api/v1/jobs", json={"kind": "train", "dataset": "drums"})
    browser = sockets.test_client(app)
    assert browser.emit("watch", {"job": 1}, callback=True) == {"ok": True, "last": 0}
    core.relay.emit("event", {"job_id": 1}, "job:1")
    core.relay.emit("event", {"job_id": 2}, "job:2")
    core.relay.emit("job", {"id": 1}, "queue")
    assert [message["args"] for message in browser.get_received()] == [[{"job_id": 1}]]
    assert browser.emit("unwatch", {"job": 1}, callback=True) == {"ok": True}
    assert browser.emit("watch_queue", {}, callback=True) == {"ok": True}
    core.relay.emit("event", {"job_id": 1}, "job:1")
    core.relay.emit("job", {"id": 1}, "queue")
    assert [message["name"] for message in browser.get_received()] == ["job"]


@pytest.mark.parametrize("data", [None, 1, "1", [], {}, {"job": "1"}, {"job": True}, {"job": -1}, {"job": 2**40}])
def test_a_watch_of_nonsense_is_answered_with_an_error(served: tuple[OpenAPI, SocketIO], data: object) -> None:
    app, sockets = served
    browser = sockets.test_client(app)
    for event in ("watch", "unwatch"):
        assert "error" in browser.emit(event, data, callback=True)
    assert browser.emit("watch", {"job": 1}, callback=True) == {"error": "There is no job 1."}
