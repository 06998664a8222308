"""Somebody who is told: a server for webhooks on this machine."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override


class Receiver:
    """A server that keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self._changed = threading.Condition()
        self.silence = threading.Event()
        self.slow = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._changed:
                    receiver.came.append((self.path, dict(self.headers), body))
                    receiver._changed.notify_all()
                if receiver.slow:
                    with suppress(OSError):
                        while not receiver.silence.wait(0.05):
                            self.wfile.write(b"H")
                    return
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            @override
            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook?a=b"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.came]

    def wait(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """The bodies, once so many have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.came) >= count, timeout_s), self.bodies()
        return self.bodies()

    def close(self) -> None:
        self.silence.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
