"""Uploads over HTTP: what is kept, what is refused, and what a hostile request comes to."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pytest
import soundfile
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.datasets import receive
from api.datasets.receive import display_name, remove_leftovers
from tests.sounds import make_sound
from tests.unit.api.conftest import TwinCore

ADDRESS = "/api/v1/datasets/drums/files"


def wav(seed: int = 1, *, container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, make_sound(seed, duration_s=0.1), 48_000, format=container)
    return buffer.getvalue()


def upload(client: FlaskClient, *files: tuple[str, bytes], field: str = "files") -> TestResponse:
    return client.post(ADDRESS, data={field: [(io.BytesIO(content), name) for name, content in files]})


def results(answer: TestResponse) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return [(file["name"], file["result"]) for file in answer.get_json()["files"]]


@pytest.fixture(autouse=True)
def dataset(client: FlaskClient) -> None:
    assert client.post("/api/v1/datasets", json={"name": "drums"}).status_code == 201


def test_good_files_are_kept_and_bad_ones_are_named(client: FlaskClient, core: TwinCore, tmp_path: Path) -> None:
    answer = upload(
        client, ("a/kick.wav", wav(1)), ("notes.wav", b"text" * 1000), ("empty.wav", b""), ("snare.flac", wav(2))
    )
    assert results(answer) == [
        ("a/kick.wav", "added"),
        ("notes.wav", "refused"),
        ("empty.wav", "refused"),
        ("snare.flac", "added"),
    ]
    assert answer.get_json()["files"][2]["reason"] == "empty.wav is empty."
    assert answer.get_json()["dataset"]["clips"] == 2
    assert core.changed_datasets[-1] == 1
    assert len(core.storage.names("clips")) == 2
    assert not list((tmp_path / "data" / "uploads").iterdir()), "nothing temporary stays"


def test_the_same_content_is_a_duplicate_and_stored_once(client: FlaskClient, core: TwinCore) -> None:
    upload(client, ("kick.wav", wav(1)))
    answer = upload(client, ("again.wav", wav(1)), ("kick.wav", wav(2)))
    assert results(answer) == [("again.wav", "duplicate"), ("kick (2).wav", "added")]
    assert answer.get_json()["files"][0]["reason"] == "It has the same content as kick.wav."
    client.post("/api/v1/datasets", json={"name": "others"})
    other = client.post("/api/v1/datasets/others/files", data={"files": (io.BytesIO(wav(1)), "kick.wav")})
    assert results(other) == [("kick.wav", "added")]
    assert len(core.storage.names("clips")) == 2


def test_a_clip_is_heard_whole_and_in_ranges(client: FlaskClient) -> None:
    content = wav(1)
    sha256 = upload(client, ("kick.wav", content)).get_json()["files"][0]["sha256"]
    with client.get(f"/api/v1/datasets/drums/clips/{sha256}/audio") as whole:
        assert (whole.status_code, whole.data, whole.mimetype) == (200, content, "audio/wav")
        assert "immutable" in whole.headers["Cache-Control"]
    with client.get(f"/api/v1/datasets/1/clips/{sha256}/audio", headers={"Range": "bytes=10-19"}) as part:
        assert (part.status_code, part.data) == (206, content[10:20])
    assert client.get(f"/api/v1/datasets/drums/clips/{'0' * 64}/audio").status_code == 404
    assert client.get("/api/v1/datasets/drums/clips/..%2f..%2frecord.db/audio").status_code == 404


def test_more_than_the_limit_is_refused(client: FlaskClient, core: TwinCore) -> None:
    object.__setattr__(core.settings, "max_upload_bytes", 10_000)
    answer = upload(client, ("kick.wav", bytes(20_000)))
    assert answer.status_code == 413
    assert answer.get_json()["error"]


def test_too_many_files_are_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "MAX_FILES", 3)
    answer = upload(client, *((f"{number}.wav", wav(number)) for number in range(4)))
    assert answer.status_code == 422
    assert answer.get_json()["field"] == "files"
    assert client.get("/api/v1/datasets/drums").get_json()["clips"] == 3, "what came in before is kept"


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{}", "application/json", 422),
        (b"x", "multipart/form-data", 422),
        (b"no boundary in here", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ncut',
            "multipart/form-data; boundary=b",
            400,
        ),
        (b"--b\r\nX: 1\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="\xff\xfe"\r\n\r\nx\r\n--b--',
            "multipart/form-data; boundary=b",
            400,
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\nx\r\n--b--',
            "multipart/form-data; boundary=b",
            422,
        ),
    ],
)
def test_a_malformed_body_is_refused(client: FlaskClient, data: bytes, content_type: str, status: int) -> None:
    answer = client.post(ADDRESS, data=data, content_type=content_type)
    assert (answer.status_code, answer.mimetype) == (status, "application/json")
    assert answer.get_json()["error"]


def test_a_full_disk_is_said_and_what_came_in_is_kept(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = core.storage.write_file
    written: list[str] = []

    def fill(key: str, path: Path) -> None:
        written.append(key)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(key, path)

    monkeypatch.setattr(core.storage, "write_file", fill)
    answer = upload(client, ("kick.wav", wav(1)), ("snare.wav", wav(2)))
    assert answer.status_code == 507
    assert "free some space" in answer.get_json()["error"]
    assert client.get("/api/v1/datasets/drums").get_json()["clips"] == 1


def test_too_little_space_is_said_before_anything_is_sent(
    client: FlaskClient, core: TwinCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.storage, "free_bytes", lambda: 1_000)
    assert upload(client, ("kick.wav", wav(1))).status_code == 507


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("kick.wav", "kick.wav"),
        ("drums\\a\\kick.wav", "drums/a/kick.wav"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc//./passwd", "etc/passwd"),
        ("a\x00b\r\nc.wav", "abc.wav"),
        ("evil\u202egpj.wav", "evilgpj.wav"),
        ("u\u0308ber.wav", "über.wav"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("x" * 2000 + ".wav", "x" * 1020 + ".wav"),
    ],
)
def test_names_are_made_fit_to_be_shown(given: str, shown: str) -> None:
    assert display_name(given) == shown


def test_leftovers_of_a_killed_api_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "upload-x").write_bytes(b"x")
    (folder / "other").write_bytes(b"x")
    remove_leftovers(folder)
    assert [path.name for path in folder.iterdir()] == ["other"]


def test_an_upload_into_no_dataset_is_refused(client: FlaskClient) -> None:
    data: dict[str, Any] = {"files": (io.BytesIO(wav()), "kick.wav")}
    assert client.post("/api/v1/datasets/snares/files", data=data).status_code == 404
