"""`spectrain doctor`: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from deploy.cli.api_client import ApiClient
from deploy.cli.exit_codes import ExitCode
from deploy.cli.kept_tokens import token_for
from deploy.cli.session import json_option, make_console, server_of
from deploy.cli.text import size
from deploy.data_folder import JoinedServer
from shared.addresses import is_loopback
from shared.errors import SpectrainError
from shared.settings import Settings
from shared.version import VERSION

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_LOW_BYTES: Final = 5_000_000_000
_CONNECT_LIMIT_S: Final = 5.0
_TORCH_ADVICE: Final = "Run ./deploy/up, which repairs the installation; remove .venv first if that does not help."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    fine: bool
    text: str
    advice: str = ""
    """What to do, where it is not fine."""


@click.command("doctor")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder that everything is kept in.")
@click.option("--server", metavar="URL", help="Address of the server; also SPECTRAIN_SERVER.")
@json_option
def doctor_command(data: Path | None, server: str | None, *, as_json: bool) -> int:
    """Look at everything that Spectrain needs and say what is wrong. Exit code 1 when something is."""
    context = click.get_current_context()
    findings = list(_findings((data or Settings().data).expanduser(), server_of(context, server)))
    fine = all(finding.fine for finding in findings)
    if as_json:
        click.echo(json.dumps({"fine": fine, "findings": [asdict(finding) for finding in findings]}))
    else:
        console = make_console()
        for finding in findings:
            console.print("ok   " if finding.fine else "WRONG", style="green" if finding.fine else "bold red", end=" ")
            console.print(f"{finding.name}: {finding.text}")
            if finding.advice:
                console.print(f"      {finding.advice}")
        console.print("Everything is fine." if fine else "Something is wrong; what to do stands above.")
    return ExitCode.DONE if fine else ExitCode.FAILED


def _findings(data: Path, server: str) -> Iterator[Finding]:
    yield _python()
    yield from _libraries()
    joined = JoinedServer.read(data)
    if joined is None or (data / "redis").exists():
        yield _page()
        yield _redis()
        yield _server(server)
    if joined is not None:
        yield _joined_server(joined)
        yield from _joined_redis(joined)
    yield _devices()
    yield _space(data)


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    fine = sys.version_info >= (3, 11)
    return Finding(name="Python", fine=fine, text=text, advice="" if fine else "Install Python 3.11 or newer.")


def _libraries() -> Iterator[Finding]:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "deploy.cli.torch_probe"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        probes: list[tuple[str, bool, str]] = json.loads(child.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        yield Finding(name="torch", fine=False, text="It cannot be loaded.", advice=_TORCH_ADVICE)
        return
    for name, fine, text in probes:
        yield Finding(name=name, fine=fine, text=text, advice="" if fine else _TORCH_ADVICE)


def _page() -> Finding:
    from deploy.launcher import page_built  # noqa: PLC0415 - slow to load

    if page_built():
        return Finding(name="Page", fine=True, text="built")
    if os.environ.get("HATCH_BUILD_NO_HOOKS"):
        return Finding(name="Page", fine=True, text="left out, as HATCH_BUILD_NO_HOOKS says")
    return Finding(name="Page", fine=False, text="not built", advice="Run ./deploy/up; it says why when it fails.")


def _redis() -> Finding:
    from deploy.redis_server import binary_version, find_binary  # noqa: PLC0415 - slow to load

    if "redis_url" in Settings().model_fields_set:
        return _redis_outside(Settings().redis_url)

    def look() -> str:
        binary = find_binary()
        version = binary_version(binary)
        if not version:
            raise SpectrainError(f"{binary} does not start.")
        return f"{version} ({binary})"

    return _attempt("Redis server", look, advice="Install what is named, then start again.")


def _redis_outside(url: str) -> Finding:
    from redis import Redis, RedisError  # noqa: PLC0415 - slow to load

    try:
        with Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        text = f"that of REDIS_URL does not answer: {error}"
        return Finding(name="Redis server", fine=False, text=text, advice="Start it, or unset REDIS_URL.")
    return Finding(name="Redis server", fine=True, text="that of REDIS_URL answers")


def _devices() -> Finding:
    from shared.devices import device_status, discover_devices  # noqa: PLC0415 - loads the driver's library

    found = [device_status(device) for device in discover_devices()]
    text = ", ".join(
        " ".join(part for part in (status.name, status.model, size(status.memory_total_bytes)) if part)
        for status in found
    )
    return Finding(name="Devices", fine=bool(found), text=text or "none", advice="" if found else "None can be used.")


def _space(data: Path) -> Finding:
    folder = data.expanduser().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    if not writable:
        return Finding(
            name="Data folder",
            fine=False,
            text=f"{folder} cannot be written",
            advice="Choose another with --data or SPECTRAIN_DATA.",
        )
    return Finding(
        name="Data folder",
        fine=free >= _LOW_BYTES,
        text=f"{folder}, {size(free)} free",
        advice="" if free >= _LOW_BYTES else "Make room, or choose another disk with --data: checkpoints need space.",
    )


def _server(server: str) -> Finding:
    def look() -> str:
        with ApiClient(server, token=token_for(server)) as client:
            workers = client.workers().workers
        online = [worker.name for worker in workers if worker.state != "offline"]
        if not online:
            raise SpectrainError(f"{server} answers, but no worker is online.")
        return f"{server}, workers: {', '.join(online)}"

    here = is_loopback(urlsplit(server).hostname or "")
    advice = "Start it with ./deploy/up" if here else "Look there"
    return _attempt("Server", look, advice=f"{advice}; its logs are in the folder `logs` of the data folder.")


def _joined_server(joined: JoinedServer) -> Finding:
    """What this machine serves, as a worker sees it."""

    def look() -> str:
        with ApiClient(joined.server, token=joined.token) as client:
            release = client.release()
        if release.version != VERSION:
            raise SpectrainError(f"{joined.server} is Spectrain {release.version}, this machine has {VERSION}.")
        return f"{joined.server}, which takes this machine's token"

    return _attempt(
        "Joined server",
        look,
        advice="Run the pasted line again; where the token is not taken, with one of `spectrain token create "
        "--role worker` on the server. Where nothing answers, start it "
        f"there and open port {urlsplit(joined.server).port or 80}.",
    )


def _joined_redis(joined: JoinedServer) -> Iterator[Finding]:
    """Whether the server's Redis can be reached at all; whether it knows this machine is its worker's to find out."""
    for place in joined.redis:
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_LIMIT_S):
                yield Finding(name="Joined Redis", fine=True, text=f"{place} answers")
        except OSError as error:
            yield Finding(
                name="Joined Redis",
                fine=False,
                text=f"{place} does not answer from here: {error}",
                advice=f"Open port {port} in the server's firewall for this machine, and see that the server runs.",
            )


def _attempt(name: str, look: Callable[[], str], *, advice: str) -> Finding:
    try:
        return Finding(name=name, fine=True, text=look())
    except SpectrainError as error:
        return Finding(name=name, fine=False, text=str(error), advice=advice)
