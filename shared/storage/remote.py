"""Artifacts through the api, with a worker's token: for machines that share no disk with it.

    write -> parts at offsets -> the api verifies the whole's hash -> durable under its key
    read  <- ranges, from where the last connection broke <- ETag, the SHA-256

Everything is idempotent, so everything is tried again while the api is away: checkpoints and previews for some seconds,
since a training rather goes on without them; all else for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

import httpx
from typing_extensions import override

from shared.errors import (
    ConfigError,
    NameTakenError,
    NotFoundError,
    StorageAwayError,
    StorageError,
    StorageFullError,
)
from shared.storage.base import Artifact, check_key
from shared.storage.cache import Cache
from shared.storage.distant import CHUNK_BYTES, DistantStorage
from shared.storage.patience import Patience

_PART_BYTES: Final = 8 << 20
_AT_ONCE_BYTES: Final = 1 << 16
"""What is sent without asking first whether it is wanted."""
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0, write=15.0)
_AWAY: Final = frozenset({408, 425, 429, 502, 503, 504})
_WRONG_HASHES: Final = 3


class _AwayError(Exception):
    """The api, or what stands before it, asks to come back later."""


class RemoteStorage(DistantStorage):
    """The store of the api at `server`."""

    def __init__(self, server: str, *, token: str, cache: Cache, on_progress: Callable[[], None]) -> None:
        super().__init__(cache, on_progress)
        self._server = server.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self._server}/api/v1/store",
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
        )

    @override
    def close(self) -> None:
        super().close()
        self._http.close()

    @override
    def stat(self, key: str) -> Artifact:
        answer = self._ask("HEAD", f"/files/{check_key(key)}", key)
        return Artifact(sha256=_etag(answer), size_bytes=int(answer.headers["Content-Length"]))

    @override
    def names(self, prefix: str) -> list[str]:
        return _json(self._ask("GET", f"/names/{check_key(prefix)}", prefix))["names"]

    @override
    def delete(self, prefix: str) -> None:
        self._ask("DELETE", f"/files/{check_key(prefix)}", prefix)

    @override
    def free_bytes(self) -> int | None:
        return _json(self._ask("GET", "/space", ""))["free_bytes"]

    @override
    def _put(self, key: str, source: BinaryIO, artifact: Artifact) -> None:
        address, size = f"/uploads/{artifact.sha256}/{key}", artifact.size_bytes
        start, patience, wrong_hashes = source.tell(), Patience.for_key(key), 0
        offset, furthest, ask = 0, 0, size > _AT_ONCE_BYTES
        while True:
            try:
                if ask:
                    answer = self._once("GET", address, key, params={"size": size})
                else:
                    source.seek(start + offset)
                    length = min(_PART_BYTES, size - offset)
                    answer = self._once(
                        "PUT",
                        address,
                        key,
                        params={"size": size, "offset": offset},
                        headers={"Content-Length": str(length), "Content-Type": "application/octet-stream"},
                        content=self._chunks(source, length),
                    )
            except (httpx.TransportError, _AwayError) as error:
                self._wait(patience, key, error)
                ask = True
                continue
            except ConfigError as error:
                # The api compared the hash of what arrived, and forgot it.
                wrong_hashes += 1
                if wrong_hashes == _WRONG_HASHES:
                    raise StorageError(str(error)) from error
                offset, ask = 0, False
                continue
            state = _json(answer)
            if state["done"]:
                return
            offset = state["received"]
            ask = state["busy"]
            if offset > furthest:
                furthest = offset
                patience.renew()
            if ask:
                self._wait(patience, key, None)

    @override
    def _fetch(self, key: str, target: BinaryIO) -> str:
        patience, sha256 = Patience.for_key(key), ""
        while True:
            headers = {"Range": f"bytes={target.tell()}-", "If-Range": f'"{sha256}"'} if target.tell() else {}
            try:
                with self._http.stream("GET", f"/files/{key}", headers=headers) as answer:
                    if not answer.is_success:
                        answer.read()
                    _check(answer, key)
                    if answer.status_code != 206:
                        target.seek(0)
                        target.truncate()
                    sha256 = _etag(answer)
                    for chunk in answer.iter_raw(CHUNK_BYTES):
                        target.write(chunk)
                        patience.renew()
                        self._on_progress()
            except (httpx.TransportError, _AwayError) as error:
                self._wait(patience, key, error)
            else:
                return sha256

    def _chunks(self, source: BinaryIO, length: int) -> Iterator[bytes]:
        while length and (chunk := source.read(min(length, CHUNK_BYTES))):
            length -= len(chunk)
            yield chunk
            self._on_progress()

    def _ask(self, method: str, address: str, key: str) -> httpx.Response:
        """What the api answers, as soon as it does."""
        patience = Patience.for_key(key)
        while True:
            try:
                return self._once(method, address, key)
            except (httpx.TransportError, _AwayError) as error:
                self._wait(patience, key, error)

    def _once(self, method: str, address: str, key: str, **request: Any) -> httpx.Response:
        answer = self._http.request(method, address, **request)
        _check(answer, key)
        return answer

    def _wait(self, patience: Patience, key: str, error: Exception | None) -> None:
        if not patience.wait():
            raise StorageAwayError(
                f"The artifact store at {self._server} is away, so {key} has to wait: see whether the api runs there"
                f" and this machine reaches it ({error or 'another connection is busy with it'})."
            ) from error


def _check(answer: httpx.Response, key: str) -> None:
    """Raise what an answer that is a refusal means."""
    if answer.is_success:
        return
    if answer.status_code in _AWAY:
        raise _AwayError(f"status {answer.status_code}")
    if answer.status_code == 404:
        raise NotFoundError(f"The artifact store holds nothing under {key}.")
    sentence = _json(answer).get("error") or f"The artifact store answered {key} with status {answer.status_code}."
    match answer.status_code:
        case 409:
            raise NameTakenError(sentence)
        case 422 if answer.request.method == "PUT":
            raise ConfigError(sentence)
        case 507:
            # Whoever reads it may sit at another machine than the full one.
            where = f"The disk of the server {answer.request.url.host} is full, so free some space there."
            raise StorageFullError(f"{where} It says: {sentence}")
        case _:
            raise StorageError(sentence)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if isinstance(content, dict):
        return cast(dict[str, Any], content)
    if answer.is_success:
        raise StorageError(f"{answer.request.url.host} is not a Spectrain server: give SPECTRAIN_STORAGE its address.")
    return {}


def _etag(answer: httpx.Response) -> str:
    return answer.headers.get("ETag", "").removeprefix("W/").strip('"')
