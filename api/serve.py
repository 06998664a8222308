"""Serving the api: gunicorn with one process of many threads.

One process, because sockets and their rooms live in it. A thread per open connection: browsers hold sockets open,
so there must be more threads than sockets; they are created when they are needed. gunicorn's parent process takes
the signals and starts the serving process anew, should it die; everything that has threads or connections is made
after the fork.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from typing_extensions import override

from api.slow_clients import patient_worker
from shared.errors import InUseError, SpectrainError
from shared.logs import configure_logs
from shared.settings import Settings

if TYPE_CHECKING:
    from api.core import Core

THREADS: Final = 512
"""Connections that are served at once; each open socket holds one."""
GRACE_S: Final = 1
"""Time that requests in the middle have when the api is told to stop."""
_STOP_S: Final = 10
"""Time after which gunicorn kills a serving process that does not stop."""
_PORT_WAIT_S: Final = 2.0

log = structlog.get_logger(__name__)


class _PlainLogger(Logger):
    """gunicorn's own lines, in the form of all others."""

    @override
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Server(BaseApplication):
    """gunicorn's application over the settings of the environment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._core: Core | None = None
        super().__init__()

    @override
    def load_config(self) -> None:
        """Set what gunicorn is told; it reads no file and no arguments."""
        options: dict[str, Any] = {
            "bind": _address(self._settings),
            "worker_class": patient_worker(self._settings.slow_client_s),
            "workers": 1,
            "threads": THREADS,
            "worker_connections": 2 * THREADS,
            "keepalive": 15,
            "graceful_timeout": _STOP_S,
            # A machine that wakes from sleep finds every process late: nobody is to be killed for that.
            "timeout": 0,
            "control_socket_disable": True,
            "loglevel": "warning",
            "logger_class": _PlainLogger,
            "proc_name": "spectrain-api",
            "post_worker_init": _shorten_grace,
            "post_fork": _die_with_parent,
            "worker_exit": self._stop,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @override
    def load(self) -> Any:
        """The WSGI application; called in the serving process."""
        # Imported after the fork: the parent needs none of it, and memory shared by a fork does not stay shared.
        from api.app import create_app  # noqa: PLC0415
        from api.core import Core  # noqa: PLC0415

        try:
            core = Core(self._settings)
        except SpectrainError as error:
            log.critical("api.refused", error=str(error))
            sys.exit(1)
        app, _ = create_app(core)
        settle()
        core.start()
        self._core = core
        log.info("api.started", address=f"http://{_address(self._settings)}")
        return app

    def _stop(self, _arbiter: Any, _worker: Any) -> None:
        """End the serving process, whatever threads still wait for browsers."""
        if self._core is not None:
            self._core.stop()
        log.info("api.stopped")
        sys.stderr.flush()
        # Leaving the usual way would join the threads that hold open sockets.
        os._exit(0)


def settle() -> None:
    """Have the garbage collector look no more at what is there now and stays: it stops all threads while it looks."""
    gc.collect()
    gc.freeze()


def serve(settings: Settings) -> None:
    """Serve until a signal; raises InUseError where the address is taken."""
    configure_logs(settings.log_level, settings.log_format)
    _check_address(settings)
    Server(settings).run()


def _shorten_grace(worker: Any) -> None:
    # The parent must wait for longer than its child does, and both read the same setting.
    worker.cfg.set("graceful_timeout", GRACE_S)


def _die_with_parent(arbiter: Any, _worker: Any) -> None:
    """On Linux: SIGKILL when the parent was killed, so that its port is free at once. Elsewhere a second later."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != arbiter.pid:
            os._exit(0)


def _address(settings: Settings) -> str:
    host = settings.host
    return f"[{host}]:{settings.port}" if ":" in host and not host.startswith("[") else f"{host}:{settings.port}"


def _check_address(settings: Settings) -> None:
    """Say in a sentence what gunicorn would say in a traceback. One that is being stopped may take a moment."""
    deadline = time.monotonic() + _PORT_WAIT_S
    while True:
        try:
            with socket.create_server((settings.host.strip("[]"), settings.port), family=_family(settings.host)):
                return
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            if error.errno != errno.EADDRINUSE:
                raise InUseError(
                    f"The api cannot listen on {where} ({error.strerror}): set SPECTRAIN_HOST and SPECTRAIN_PORT."
                ) from error
            if time.monotonic() > deadline:
                raise InUseError(
                    f"Something else listens on {where}: stop it, or choose another port with SPECTRAIN_PORT."
                ) from error
        time.sleep(0.05)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
