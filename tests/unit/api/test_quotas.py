"""Quotas: what does not fit is refused by name before it is stored, whoever else uploads at that moment."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.datasets.quotas import Measured, Quotas
from shared.errors import StorageFullError
from tests.sounds import make_sound
from tests.unit.api.conftest import TwinCore

QUOTA = 30_000


def wav(seed: int) -> bytes:
    """About 10,000 bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, make_sound(seed, duration_s=0.1), 48_000, format="WAV")
    return buffer.getvalue()


def upload(client: FlaskClient, dataset: str, *seeds: int) -> TestResponse:
    files = [(io.BytesIO(wav(seed)), f"{seed}.wav") for seed in seeds]
    return client.post(f"/api/v1/datasets/{dataset}/files", data={"files": files})


def results(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [file["result"] for file in answer.get_json()["files"]]


@pytest.fixture(params=["dataset_quota_bytes", "quota_bytes"])
def core(request: pytest.FixtureRequest, tmp_path: Path, record_url: str) -> Iterator[TwinCore]:
    core = TwinCore(tmp_path / "data", database_url=record_url, **{request.param: QUOTA})
    yield core
    core.database.close()


@pytest.fixture(autouse=True)
def dataset(client: FlaskClient) -> None:
    for name in ("drums", "bass"):
        assert client.post("/api/v1/datasets", json={"name": name}).status_code == 201


def test_what_does_not_fit_is_refused_and_not_stored(client: FlaskClient, core: TwinCore) -> None:
    answer = upload(client, "drums", 1, 2, 3, 4)
    assert results(answer) == ["added", "added", "added", "refused"]
    assert "It does not fit" in answer.get_json()["files"][3]["reason"]
    assert len(core.storage.names("clips")) == 3
    assert results(upload(client, "drums", 2)) == ["duplicate"], "what is there takes nothing more"
    each = core.settings.dataset_quota_bytes is not None
    assert results(upload(client, "bass", 5)) == ["added" if each else "refused"]


def test_the_answer_of_a_full_one_says_so_at_once(client: FlaskClient, core: TwinCore) -> None:
    upload(client, "drums", 1, 2, 3)
    quotas: Quotas = client.application.extensions["spectrain"].uploads._quotas
    assert quotas.refusal(1, QUOTA - sum(entry.size_bytes for entry in core.storage.entries("clips"))) == ""
    answer = upload(client, "drums", 4)
    assert answer.status_code == 507
    assert "delete something" in answer.get_json()["error"]


def test_a_model_counts_in_the_whole(client: FlaskClient, core: TwinCore) -> None:
    quotas: Quotas = client.application.extensions["spectrain"].uploads._quotas
    if core.settings.quota_bytes is None:
        with quotas.model(10 * QUOTA):
            return
    with pytest.raises(StorageFullError, match="does not fit: the whole installation"), quotas.model(QUOTA + 1):
        pass
    with quotas.model(QUOTA - 5_000):
        assert results(upload(client, "drums", 1)) == ["refused"]


def test_what_two_upload_at_once_fits_together() -> None:
    quotas = Quotas(
        each=None, whole=1_000, taken=lambda _: 0, measure=lambda: Measured(size_bytes=0, at=time.time() + 60)
    )
    promised = list[int]()
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        for _ in range(100):
            if not quotas.refusal(1, 10):
                promised.append(10)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(promised) == 1_000
    for size in promised:
        quotas.added(1, size)
    assert quotas.refusal(1, 1_000) == "", "what was promised is measured now"


def test_what_came_since_the_measurement_counts() -> None:
    at = time.time()
    quotas = Quotas(each=None, whole=1_000, taken=lambda _: 0, measure=lambda: Measured(size_bytes=100, at=at))
    assert quotas.refusal(1, 900) == ""
    quotas.added(1, 900)
    assert "has 0.00 GB left" in quotas.refusal(1, 1)
