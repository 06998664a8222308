"""What the api tells of the clips of a dataset, and taking some of them out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from flask.testing import FlaskClient

from tests.sounds import make_sound, write_sounds

RATE_HZ = 48_000
API = "/api/v1/datasets"


def upload(client: FlaskClient, paths: list[Path]) -> dict[str, dict[str, object]]:
    """Add files to a dataset of their own; its clips by name."""
    client.post(API, json={"name": "drums"})
    files = [(io.BytesIO(path.read_bytes()), path.name) for path in paths]
    assert client.post(f"{API}/drums/files", data={"files": files}).status_code == 200
    return {clip["name"]: clip for clip in client.get(f"{API}/drums").get_json()["files"]}


def test_findings_are_told_of_each_clip(client: FlaskClient, tmp_path: Path) -> None:
    sound = (20_000 * make_sound(1)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", sound, RATE_HZ)
    soundfile.write(tmp_path / "b.flac", sound, RATE_HZ)
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    clips = upload(client, [tmp_path / name for name in ("a.wav", "b.flac", "silence.wav")])
    assert clips["a.wav"]["same_as"] == ""
    assert clips["b.flac"]["same_as"] == "a.wav"
    assert (clips["silence.wav"]["peak"], clips["silence.wav"]["silent_before_s"]) == (0.0, 1.0)


def test_clips_are_taken_out_and_jobs_keep_theirs(client: FlaskClient, tmp_path: Path) -> None:
    clips = upload(client, write_sounds(tmp_path, 4))
    body = {"kind": "train", "dataset": "drums", "held": True}
    job = client.post("/api/v1/jobs", json=body).get_json()
    gone = clips["sound-001.wav"]["sha256"]
    left = client.post(f"{API}/drums/clips/remove", json={"clips": [gone]}).get_json()
    assert (left["clips"], left["version"]) == (3, 2)
    assert client.get(f"{API}/drums/clips/{gone}/audio").status_code == 404
    assert client.get(f"/api/v1/jobs/{job['id']}").get_json()["dataset"]["clips"] == 4
    again = client.post(f"{API}/drums/clips/remove", json={"clips": [gone]})
    assert (again.status_code, again.get_json()["field"]) == (404, "clips")


def test_pictures_of_a_clip_are_kept_by_the_browser(client: FlaskClient, tmp_path: Path) -> None:
    clips = upload(client, write_sounds(tmp_path, 1))
    sha256 = clips["sound-000.wav"]["sha256"]
    for what, kind in (("spectrogram.png", "image/png"), ("waveform.svg", "image/svg+xml")):
        picture = client.get(f"{API}/drums/clips/{sha256}/{what}")
        assert (picture.status_code, picture.mimetype) == (200, kind)
        assert "immutable" in picture.headers["Cache-Control"]
        known = client.get(f"{API}/drums/clips/{sha256}/{what}", headers={"If-None-Match": picture.headers["ETag"]})
        assert known.status_code == 304
