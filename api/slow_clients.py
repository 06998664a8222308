"""Clients that dawdle: each request holds a thread, so whoever sends one byte now and then could hold all of them.

The head of a request has to come within the limit, and so has all of a login, which everybody may send. Of other
bodies, which only those who may send them get read, something has to come within it.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker
from typing_extensions import override


def patient_worker(limit_s: float) -> type[ThreadWorker]:
    """gunicorn's worker of threads, with `limit_s` of patience."""

    class PatientWorker(ThreadWorker):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._due: dict[Any, float] = {}
            """By connection: when what it is sending has to be there."""

        @override
        def handle(self, conn: Any) -> Any:
            self._due[conn] = time.monotonic() + limit_s
            limit_silence(conn.sock, limit_s)
            try:
                return super().handle(conn)
            finally:
                self._due.pop(conn, None)

        @override
        def handle_request(self, req: Any, conn: Any) -> Any:
            if req.path != "/login":
                self._due.pop(conn, None)
            return super().handle_request(req, conn)

        @override
        def murder_pending(self) -> None:
            super().murder_pending()
            for conn, due in list(self._due.items()):
                if time.monotonic() > due:
                    # Wakes the thread that reads from it, which ends it.
                    with suppress(OSError):
                        conn.sock.shutdown(socket.SHUT_RDWR)

    return PatientWorker


def limit_silence(connection: socket.socket, limit_s: float) -> None:
    """Have reading fail after so long without a byte; 0 waits for ever."""
    whole = int(limit_s)
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, int((limit_s - whole) * 1_000_000))
    )
