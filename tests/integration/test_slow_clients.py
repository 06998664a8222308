"""Clients that dawdle are cut off; those who only wait are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import socketio

from tests.system import System

LIMIT_S = 2.0
CUT_OFF_S = 10.0
"""Until a dawdler is cut off, on a busy machine."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("slow") / "data", redis_url, slow_client_s=str(LIMIT_S)) as system:
        system.start_api()
        yield system


def dawdle(system: System, said: bytes, drop: bytes) -> tuple[float, bytes]:
    """Say something, then `drop` now and then; returns after how many seconds one is cut off, and what was answered."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", system.port), timeout=0.5) as line:
        line.sendall(said)
        while (took_s := time.monotonic() - began) < CUT_OFF_S:
            try:
                if drop:
                    line.sendall(drop)
                answer = line.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                return took_s, b""
            return took_s, answer
    pytest.fail("it was not cut off")


def post(system: System, path: str, kind: str, length: int = 5000) -> bytes:
    host = f"Host: 127.0.0.1:{system.port}"
    return f"POST {path} HTTP/1.1\r\n{host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("drop", [b"", b"x"], ids=["silent", "a byte now and then"])
def test_a_head_that_does_not_come(system: System, drop: bytes) -> None:
    took_s, answer = dawdle(system, b"GET /healthz HTTP/1.1\r\nX-Slow: ", drop)
    assert took_s > LIMIT_S - 1
    assert b"200" not in answer


def test_a_login_of_which_a_byte_comes_now_and_then(system: System) -> None:
    took_s, _ = dawdle(system, post(system, "/login", "application/x-www-form-urlencoded"), b"t")
    assert took_s > LIMIT_S - 1


def test_a_body_of_which_nothing_comes(system: System) -> None:
    took_s, answer = dawdle(system, post(system, "/api/v1/datasets", "application/json"), b"")
    assert took_s > LIMIT_S - 1
    assert b" 408 " in answer.splitlines()[0], answer


def test_a_body_that_comes_slowly_is_waited_for(system: System) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"name": '
        for _ in range(6):
            time.sleep(LIMIT_S / 4)
            yield b" "
        yield b'"slow"}'

    headers = {"Content-Type": "application/json", "Content-Length": str(len(b'{"name": ' + b" " * 6 + b'"slow"}'))}
    answer = httpx.post(f"{system.url}/api/v1/datasets", content=body(), headers=headers, timeout=30.0)
    assert answer.status_code == httpx.codes.CREATED, answer.text


def test_a_browser_that_only_listens_stays(system: System) -> None:
    lost = threading.Event()
    client = socketio.Client(reconnection=False)
    client.on("disconnect", lambda _reason: lost.set())
    client.connect(system.url)
    try:
        assert not lost.wait(3 * LIMIT_S)
        assert client.call("watch_queue", {}) == {"ok": True}
    finally:
        client.shutdown()
