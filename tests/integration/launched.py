"""A launcher over stand-ins for api and workers: `python -m tests.integration.launched DATA PORT DEVICE...`.

They write what happens to them into DATA/story.txt, one line each. Run by the tests of the launcher in a process of
its own, since a launcher takes over the signals of its process.
"""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from deploy.launcher import Launcher, LaunchOptions, Ready


def tell(line: str) -> None:
    """Add a line to the story."""
    with (Path(os.environ["SPECTRAIN_DATA"]) / "story.txt").open("a") as story:
        story.write(f"{line}\n")


def run_api() -> None:
    """Answer /readyz until SIGTERM."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size

    address = (os.environ["SPECTRAIN_HOST"], int(os.environ["SPECTRAIN_PORT"]))
    server = http.server.ThreadingHTTPServer(address, Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    tell(f"api started {os.getpid()}")
    server.serve_forever()
    tell("api stopped")


def run_worker(device: str) -> None:
    """Wait for SIGTERM; the device `mps` stands for a worker that ignores it."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        tell(f"worker stopped {device}")
        sys.exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if device == "mps" else stop)
    # Before the error, which the tests wait for: a signal in the middle of this line would put it behind its end's.
    tell(f"worker started {device} {os.getpid()}")
    user = os.environ["REDIS_URL"].split("//")[1].split(":")[0]
    sys.stderr.write(f'{{"level": "error", "event": "worker.example", "error": "as {user}"}}\n')
    sys.stderr.flush()
    while True:
        time.sleep(3600)


def run_launcher(data: str, port: str, devices: list[str]) -> None:
    """Run the launcher; the address goes to standard output, sentences to standard error."""

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def ready(runs: Ready) -> None:
        sys.stdout.write(f"{asdict(runs)}\n")
        sys.stdout.flush()

    options = LaunchOptions(data=Path(data), host="127.0.0.1", port=int(port), devices=tuple(devices))
    command = [sys.executable, "-m", "tests.integration.launched"]
    Launcher(options, say=say, ready=ready, command_of=lambda name: [*command, name]).run()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["api"]:
            run_api()
        case ["worker", "--device", device]:
            run_worker(device)
        case [data, port, *devices]:
            run_launcher(data, port, devices)
        case _:
            sys.exit(2)
