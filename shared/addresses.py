"""What addresses mean, for the api and for how it is run."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
"""What a server listens on that every address of its machine reaches."""
_FAR_AWAY: Final = ("192.0.2.1", 9)
"""An address that no machine has: asking which way it lies sends nothing."""


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_address() -> str:
    """Address of this machine in its network; its name where that cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_FAR_AWAY)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
