"""What a person pastes on another machine to have it join, and the address by which that reaches this server."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from shared.addresses import EVERYWHERE, is_loopback, own_address
from shared.settings import Settings


def join_command(server: str, token: str) -> str:
    """The line that makes a machine with nothing but Python a worker of `server`."""
    script = f"import urllib.request as u; exec(u.urlopen('{server}/join').read())"
    return f'python3 -c "{script}" --server {shlex.quote(server)} --token {shlex.quote(token)}'


def server_address(settings: Settings, asked_as: str, origin: str) -> tuple[str, str]:
    """Address of this server for other machines, and what keeps them from reaching it (empty when nothing does).

    `asked_as` is the address that the person uses, `origin` the page's, which also knows a proxy's https.
    """
    asked = urlsplit(asked_as)
    if not is_loopback(asked.hostname or ""):
        scheme = urlsplit(origin).scheme or asked.scheme
        return f"{scheme}://{asked.netloc}", ""
    if is_loopback(settings.host):
        note = (
            "This server listens on its own machine alone: start it with `spectrain up --host ADDRESS` before another "
            "machine joins, and put that address into the line."
        )
        return f"http://{asked.netloc}", note
    host = own_address() if settings.host in EVERYWHERE else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}", ""
