"""The bucket that does not answer, and the one that refuses: the first is waited for, the second is told at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import pytest
from typing_extensions import override

from shared.errors import StorageAwayError, StorageError
from shared.storage import Storage, open_storage

pytest.importorskip("obstore")
TRIES = 2


class Bucket:
    """Answers everything with `status`."""

    def __init__(self) -> None:
        self.status = HTTPStatus.OK
        self.asked = 0
        self.away_for = 0
        """So many calls meet an outage first."""
        self.stored: list[bytes] = []
        self.promised = 0
        """Bytes that an answer says it has, and has not; who asks for the rest meets an outage."""
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                bucket.asked += 1
                gone = "Range" in self.headers or bucket.asked <= bucket.away_for
                self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if gone else bucket.status)
                self.send_header("Content-Length", str(bucket.promised))
                self.send_header("Last-Modified", "Sun, 01 Nov 2026 10:00:00 GMT")
                self.send_header("ETag", '"1"')
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if bucket.asked >= bucket.away_for:
                    bucket.stored.append(body)
                self.do_HEAD()

            @override
            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    serving = threading.Thread(target=bucket.server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield bucket
    bucket.server.shutdown()
    bucket.server.server_close()
    serving.join()


class Opener(Protocol):
    def __call__(self, prefix: str = "here", *, waits: bool = False) -> Storage: ...


@pytest.fixture
def opened(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """As the api opens it, or with `waits` as a worker does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setattr("shared.storage.s3._RETRY", {"max_retries": TRIES})

    def another(prefix: str = "here", *, waits: bool = False) -> Storage:
        return open_storage(f"s3://sounds/{prefix}", cache=tmp_path, waits=waits)

    return another


@pytest.fixture
def store(opened: Opener) -> Storage:
    return opened()


@pytest.mark.parametrize("status", [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INTERNAL_SERVER_ERROR])
def test_an_outage_is_waited_for_and_then_told_as_one(bucket: Bucket, store: Storage, status: HTTPStatus) -> None:
    bucket.status = status
    with pytest.raises(StorageAwayError, match=r"s3://sounds/here is away, so jobs/1/plan\.json has to wait"):
        store.read("jobs/1/plan.json")
    assert bucket.asked == 1 + TRIES
    with pytest.raises(StorageAwayError):
        store.write("jobs/1/plan.json", b"{}")


def test_a_worker_waits_until_it_is_back(bucket: Bucket, opened: Opener) -> None:
    bucket.away_for = 2 * (1 + TRIES)
    opened(waits=True).write("jobs/1/plan.json", b"{}")
    assert bucket.asked == bucket.away_for + 1
    assert bucket.stored == [b"{}"], "all of it, however often it was begun"


def test_a_worker_waits_for_no_longer_than_it_may(
    bucket: Bucket, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.patience.SHORT_PATIENCE_S", 1.0)
    bucket.status = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(StorageAwayError):
        opened(waits=True).read("jobs/1/plan.json")
    assert bucket.asked > 1 + TRIES


def test_a_long_address_hides_no_outage(bucket: Bucket, opened: Opener) -> None:
    bucket.status = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(StorageAwayError):
        opened("deep/" * 80).read("jobs/1/plan.json")


def test_nobody_there_is_an_outage(bucket: Bucket, store: Storage) -> None:
    bucket.server.shutdown()
    bucket.server.server_close()
    with pytest.raises(StorageAwayError, match="see whether it runs"):
        store.read("jobs/1/plan.json")


def test_a_connection_that_breaks_while_bytes_come_is_an_outage(bucket: Bucket, store: Storage) -> None:
    bucket.promised = 100
    with pytest.raises(StorageAwayError, match="is away"):
        store.read("jobs/1/plan.json")


@pytest.mark.parametrize("status", [HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN])
def test_a_refusal_is_none(bucket: Bucket, store: Storage, status: HTTPStatus) -> None:
    bucket.status = status
    with pytest.raises(StorageError, match=r"s3://sounds/here failed at jobs/1/plan\.json") as told:
        store.read("jobs/1/plan.json")
    assert not isinstance(told.value, StorageAwayError)
    assert bucket.asked == 1
