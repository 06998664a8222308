"""`spectrain up`, `api` and `worker`: the commands that run Spectrain on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.addresses import address
from deploy.cli.session import DEFAULT_SERVER, json_option, server_of
from shared.addresses import EVERYWHERE, is_loopback, own_address
from shared.devices import check_present, parse_device
from shared.errors import ConfigError
from shared.settings import Settings

if TYPE_CHECKING:
    from deploy.launcher import Ready
    from deploy.redis_server import Role

_ROOT = Path(__file__).resolve().parent.parent.parent

_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that everything is kept in. Default: SPECTRAIN_DATA, else one of the user's own.",
)


@click.command("up")
@_data
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address that the page is served on. Default: SPECTRAIN_HOST, else 127.0.0.1, for this machine alone.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port that the page is served on. Default: SPECTRAIN_PORT, else 8000.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="cpu, mps, cuda:0 …; repeatable, a worker for each. Default: every device that is found.",
)
@click.option(
    "--redis-host", metavar="ADDRESS", help="Address that Redis listens on for machines that join. Default: --host."
)
@json_option
def up_command(
    data: Path | None,
    host: str | None,
    port: int | None,
    devices: tuple[str, ...],
    redis_host: str | None,
    *,
    as_json: bool,
) -> None:
    """Run Redis, the api and a worker for every device; Ctrl-C stops all of it.

    `./deploy/up` installs what is missing and then runs this; it also takes --torch-index URL, for another build of
    torch.

    Workers save what they train before they stop. A second Ctrl-C kills. With --json, one line tells address, data
    folder and devices once everything runs.
    """
    from deploy.install import Stamp  # noqa: PLC0415 - slow to load, for this alone
    from deploy.launcher import Launcher, LaunchOptions, page_built  # noqa: PLC0415 - the same

    settings = Settings()
    options = LaunchOptions(
        data=data or settings.data,
        host=host or settings.host,
        port=port or settings.port,
        devices=devices,
        redis_url=settings.redis_url if "redis_url" in settings.model_fields_set else "",
        redis_host=redis_host or settings.redis_host,
        torch_index=settings.torch_index or Stamp.read(Path(sys.prefix) / "spectrain.json").torch_index,
        login=settings.model_copy(update={"host": host or settings.host}).needs_login,
    )

    def ready(runs: Ready) -> None:
        if as_json:
            click.echo(json.dumps(asdict(runs)))
            return
        url = runs.url
        if options.host in EVERYWHERE:
            # The address that is good on every machine, this one too: a login is kept for the address it was made at.
            url = address(own_address(), options.port)
        click.echo(f"Spectrain is ready: {url}")
        click.echo(f"Workers: {', '.join(runs.devices)}. Data: {runs.data}. Logs: {runs.logs}. Ctrl-C stops it.")
        if url != DEFAULT_SERVER:
            click.echo(f"For the command line: export SPECTRAIN_SERVER={url}")
        if options.login:
            click.echo(f"People log in with a token, on the page and with `spectrain login {url}`.")
        if runs.token:
            show_first_token(runs.token)

    for name in devices:
        check_present(parse_device(name))
    say("Starting Spectrain.")
    if not is_loopback(options.host):
        say(
            f"Warning: {options.host} is not this machine alone, and the page speaks no TLS: tokens and sounds travel "
            "in the clear. Do this in a network that you trust, or put a proxy with TLS before it."
        )
    if not options.redis_url and not is_loopback(options.redis_host or options.host):
        say(
            f"Warning: Redis listens on {options.redis_host or options.host} too, so that other machines can join. It "
            "asks for a password but speaks no TLS: do this in a network that you trust, such as WireGuard, or set "
            "REDIS_URL=rediss://… to one that does."
        )
    if not page_built():
        say("The page is not built: only the command line and the HTTP API work. `./deploy/up` builds it.")
    Launcher(options, say=say, ready=ready).run()
    say("Stopped.")


@click.command("api")
@_data
@click.option(
    "--host", metavar="ADDRESS", help="Address to listen on. Default: SPECTRAIN_HOST, else 127.0.0.1, this machine."
)
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on. Default: SPECTRAIN_PORT, else 8000.")
@json_option
def api_command(data: Path | None, host: str | None, port: int | None, *, as_json: bool) -> None:
    """Run the api alone, with the Redis of REDIS_URL or the one that runs on the data folder."""
    del as_json  # it answers by HTTP and writes its log as JSON in any case
    settings = Settings()
    environment = {
        "SPECTRAIN_DATA": str(data or settings.data),
        "SPECTRAIN_HOST": host or settings.host,
        "SPECTRAIN_PORT": str(port or settings.port),
        "REDIS_URL": _redis_url(settings, data, "api"),
        "SPECTRAIN_REDIS_KEEPER_URL": settings.redis_keeper_url
        or ("" if "redis_url" in settings.model_fields_set else _redis_url(settings, data, "keeper")),
    }
    from api.access.first import first_admin  # noqa: PLC0415 - the record, for this alone

    token = first_admin(Settings(data=data or settings.data, host=host or settings.host, port=port or settings.port))
    if token:
        show_first_token(token)
    _become(["api"], environment)


@click.command("worker")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="cpu, mps, cuda:0 …; repeatable. Default with a token: every device that is found; else name one.",
)
@click.option("--name", default="", help="Name of the worker; made of host and device where none is given.")
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="Label that jobs may ask for; repeatable.")
@_data
@click.option("--server", metavar="URL", help="Join the server there, with a token. Also SPECTRAIN_SERVER.")
@click.option(
    "--token", metavar="TOKEN", help="Token to join with; also SPECTRAIN_TOKEN, which other users cannot see."
)
@json_option
def worker_command(
    *,
    devices: tuple[str, ...],
    name: str,
    labels: tuple[str, ...],
    data: Path | None,
    server: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Join a server on another machine, or run one worker alone.

    With --token, every device that is found (or each --device) serves the Spectrain at --server; what a machine needs
    for that is in the line that `spectrain token create --role worker` prints. Without, one worker runs with the Redis
    of REDIS_URL or the one that runs on the data folder.

    On Ctrl-C or SIGTERM it saves, hands its job back and ends.
    """
    del as_json  # it writes its log as JSON in any case
    settings = Settings()
    folder = (data or settings.data).expanduser().absolute()
    token = token or settings.token
    if token:
        from deploy.joining import JoinedMachine, JoinOptions  # noqa: PLC0415 - slow to load, for this alone

        for device in devices:
            check_present(parse_device(device))
        address = server_of(click.get_current_context(), server)
        options = JoinOptions(
            server=address.rstrip("/"), token=token, data=folder, devices=devices, name=name, labels=labels
        )
        JoinedMachine(options, say=say).run()
        say("Stopped.")
        return
    if server:
        raise ConfigError("A worker joins a server with a token: make one there and add --token.", field="token")
    if len(devices) != 1:
        raise ConfigError("Name the one device that this worker serves, such as --device cpu.", field="device")
    environment = {
        "SPECTRAIN_DATA": str(folder),
        "REDIS_URL": _redis_url(settings, data, "worker"),
        "SPECTRAIN_LABELS": ",".join(labels) or settings.labels,
    }
    _become(["worker", "--device", devices[0], *(["--name", name] if name else [])], environment)


def show_first_token(token: str) -> None:
    """Show the token that the first person logs in with, on standard error: nobody takes it for an answer."""
    say(f"Log in with this token. It is shown this one time, and its holder may do everything:\n\n{token}\n")


def say(text: str) -> None:
    """A sentence for the person who started it; what runs goes on where the disk of its file is full."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _redis_url(settings: Settings, data: Path | None, role: Role) -> str:
    from deploy.redis_server import RedisAccess, redis_urls  # noqa: PLC0415 - slow to load

    outside = settings.redis_url if "redis_url" in settings.model_fields_set else ""
    return redis_urls(RedisAccess.read((data or settings.data).expanduser()), outside)[role]


def _become(module: list[str], environment: dict[str, str]) -> None:
    """Go on as `python -m <module>`: signals reach it directly, and its exit code is ours."""
    # The folder that holds the packages is looked in first, whatever the current one is.
    path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    os.environ.update({**environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})
    os.execv(sys.executable, [sys.executable, "-m", *module])  # noqa: S606 - no shell is wanted
