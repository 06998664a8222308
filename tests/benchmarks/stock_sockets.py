"""Flask-SocketIO with its message queue, as its documentation shows it: the other side of the benchmark `events`.

`python -m tests.benchmarks.stock_sockets PORT` serves it with the threads that the api has.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from flask import Flask
from flask_socketio import SocketIO, join_room
from gunicorn.app.base import BaseApplication
from typing_extensions import override

from api.serve import THREADS

CHANNEL: Final = "spectrain:stock-sockets"
"""Pub/sub channel, one that the api's user may use."""


class Server(BaseApplication):
    """gunicorn with one process of many threads."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    @override
    def load_config(self) -> None:
        """One process, many threads."""
        options: dict[str, Any] = {
            "bind": f"127.0.0.1:{self._port}",
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_connections": 2 * THREADS,
            "timeout": 0,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @override
    def load(self) -> Any:
        """The application."""
        app = Flask(__name__)
        sockets = SocketIO(app, async_mode="threading", message_queue=os.environ["REDIS_URL"], channel=CHANNEL)

        def watch(data: dict[str, Any]) -> dict[str, bool]:
            join_room(str(data["job"]))
            return {"ok": True}

        sockets.on_event("watch", watch)
        return app


if __name__ == "__main__":
    Server(int(sys.argv[1])).run()
