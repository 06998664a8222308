"""The artifact store over HTTP: who may do what, uploads in parts, and what is refused."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.store import uploads
from shared.storage import FolderStorage
from tests.unit.api.conftest import TwinCore

KEY = "jobs/1/checkpoints/1-20/state.pt"
DATA = bytes(range(256)) * 4_000
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def token(client: FlaskClient) -> None:
    secret = client.post("/api/v1/tokens", json={"name": "a worker"}).json["secret"]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"


def put(
    client: FlaskClient, data: bytes, *, key: str = KEY, sha256: str = SHA256, size: int = len(DATA), offset: int = 0
) -> TestResponse:
    return client.put(f"/api/v1/store/uploads/{sha256}/{key}?size={size}&offset={offset}", data=data)


def state(client: FlaskClient, *, key: str = KEY, sha256: str = SHA256, size: int = len(DATA)) -> TestResponse:
    return client.get(f"/api/v1/store/uploads/{sha256}/{key}?size={size}")


def parts_of(core: TwinCore) -> list[Path]:
    return list((core.settings.data / "uploads" / "artifacts").glob("*.part"))


@pytest.mark.parametrize("header", ["", "Bearer spt_wrong", "Basic spt_wrong", "Bearer"])
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_nobody_gets_in_without_a_workers_token(client: FlaskClient, core: TwinCore, header: str, method: str):
    core.storage.write(KEY, b"content")
    client.environ_base["HTTP_AUTHORIZATION"] = header
    address = f"uploads/{SHA256}/{KEY}?size=1&offset=0" if method == "put" else f"files/{KEY}"
    assert getattr(client, method)(f"/api/v1/store/{address}").status_code == 401
    assert client.get("/api/v1/store/names/jobs").status_code == 401
    assert core.storage.read(KEY) == b"content"


def test_a_revoked_token_is_worth_nothing(client: FlaskClient):
    assert client.get("/api/v1/store/space").status_code == 200
    client.post("/api/v1/tokens/1/revoke")
    assert client.get("/api/v1/store/space").status_code == 401


def test_an_artifact_is_read_whole_in_ranges_and_only_when_it_changed(client: FlaskClient, core: TwinCore):
    core.storage.write(KEY, DATA)
    address = f"/api/v1/store/files/{KEY}"
    whole = client.get(address, buffered=True)
    assert (whole.data, whole.headers["ETag"]) == (DATA, f'"{SHA256}"')
    rest = {"Range": "bytes=1000-", "If-Range": f'"{SHA256}"'}
    part = client.get(address, headers=rest, buffered=True)
    assert (part.status_code, part.data) == (206, DATA[1000:])
    changed = client.get(address, headers={**rest, "If-Range": f'"{OTHER}"'}, buffered=True)
    assert (changed.status_code, changed.data) == (200, DATA)
    same = client.get(address, headers={"If-None-Match": f'"{SHA256}"'}, buffered=True)
    assert (same.status_code, same.data) == (304, b"")
    head = client.head(address, buffered=True)
    assert (head.headers["Content-Length"], head.headers["ETag"]) == (str(len(DATA)), f'"{SHA256}"')


def test_an_upload_goes_on_where_it_stopped(client: FlaskClient, core: TwinCore):
    assert put(client, DATA[:500_000]).json == {"received": 500_000, "done": False, "busy": False}
    assert not core.storage.exists(KEY)
    assert put(client, DATA[:9]).json["received"] == 500_000  # at a wrong place, nothing is added
    assert state(client).json["received"] == 500_000
    assert put(client, DATA[500_000:], offset=500_000).json["done"]
    assert core.storage.read(KEY) == DATA
    assert parts_of(core) == []
    assert state(client).json["done"]


def test_bytes_with_another_hash_never_become_visible(client: FlaskClient, core: TwinCore):
    answer = put(client, b"x" * len(DATA))
    assert answer.status_code == 422
    assert "hash" in answer.json["error"]
    assert not core.storage.exists(KEY)
    assert parts_of(core) == []


def test_more_bytes_than_announced_are_refused(client: FlaskClient, core: TwinCore):
    assert put(client, DATA, size=10).status_code == 422
    assert not core.storage.exists(KEY)


def test_what_a_job_made_never_changes(client: FlaskClient, core: TwinCore):
    assert put(client, DATA).json["done"]
    assert put(client, DATA).json["done"]
    assert put(client, b"other", sha256=OTHER, size=5).status_code == 409
    assert state(client, sha256=OTHER, size=5).status_code == 409
    assert core.storage.read(KEY) == DATA


def test_a_damaged_artifact_that_is_named_by_its_hash_is_mended(client: FlaskClient, core: TwinCore):
    key = f"features/{'0' * 64}/{SHA256}.safetensors"
    core.storage.write(key, b"damaged")
    assert put(client, DATA, key=key).json["done"]
    assert core.storage.read(key) == DATA


@pytest.mark.parametrize("key", [f"clips/{SHA256}", "plan.json", "record/x", "jobs"])
def test_workers_write_only_what_jobs_make(client: FlaskClient, core: TwinCore, key: str):
    assert put(client, DATA, key=key).status_code == 403
    assert not core.storage.exists(key)


def test_a_name_tells_the_hash_of_its_content(client: FlaskClient):
    assert put(client, DATA, key=f"weights/{OTHER}.safetensors").status_code == 422
    assert put(client, DATA, key=f"weights/{SHA256}.safetensors").json["done"]


@pytest.mark.parametrize("prefix", ["jobs", "jobs/1", "jobs/1/checkpoints", "features/x", "clips/x", "weights/x"])
def test_workers_remove_single_checkpoints_only(client: FlaskClient, core: TwinCore, prefix: str):
    core.storage.write(KEY, b"content")
    assert client.delete(f"/api/v1/store/files/{prefix}").status_code == 403
    assert core.storage.exists(KEY)


def test_a_checkpoint_is_removed_with_its_unfinished_uploads(client: FlaskClient, core: TwinCore):
    core.storage.write("jobs/1/checkpoints/1-20/model.safetensors", b"content")
    put(client, DATA[:10])
    put(client, DATA[:10], key="jobs/1/checkpoints/1-200/state.pt")
    assert client.delete("/api/v1/store/files/jobs/1/checkpoints/1-20").status_code == 200
    assert core.storage.names("jobs/1/checkpoints") == []
    assert [part.name.split("~")[3] for part in parts_of(core)] == ["1-200"]


@pytest.mark.parametrize(
    "key", ["..%2f..%2frecord.db", "jobs/%2e%2e/%2e%2e/record.db", ".hidden", "jobs/1/a%00b", "a b"]
)
def test_hostile_keys_are_no_addresses(client: FlaskClient, core: TwinCore, key: str):
    assert client.get(f"/api/v1/store/files/{key}").status_code == 404
    assert put(client, DATA, key=key).status_code == 404
    assert client.delete(f"/api/v1/store/files/{key}").status_code == 404
    assert parts_of(core) == []


def test_a_full_disk_is_told_before_anything_is_sent(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(core.storage, "free_bytes", lambda: 1_000)
    assert state(client).status_code == 507
    assert put(client, DATA).status_code == 507
    assert parts_of(core) == []


def test_what_is_too_large_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    assert state(client, size=uploads.MAX_BYTES + 1).status_code == 422
    monkeypatch.setattr(sys.modules["api.routes.store"], "MAX_PART_BYTES", 1_000)
    assert put(client, DATA).status_code == 413


def test_uploads_that_nobody_finished_are_removed_after_a_day(core: TwinCore, tmp_path: Path):
    old, young = tmp_path / f"jobs~1~x~{SHA256}.part", tmp_path / f"jobs~2~x~{SHA256}.part"
    for part, age_s in ((old, uploads.ABANDONED_S + 60), (young, 3_600)):
        part.write_bytes(b"some")
        os.utime(part, (time.time() - age_s,) * 2)
    found = uploads.ArtifactUploads(FolderStorage(core.storage.root), tmp_path)
    assert found.state("jobs/2/x", SHA256, 10).received == 4
    assert not old.exists()
