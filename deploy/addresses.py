"""Where the api listens, and how that is reached."""

from __future__ import annotations

import socket

from shared.addresses import EVERYWHERE
from shared.errors import ConfigError, InUseError


def address(host: str, port: int) -> str:
    """What a browser on this machine opens."""
    if host in EVERYWHERE:
        host = "::1" if host == "::" else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_port_free(host: str, port: int) -> None:
    """Raise InUseError when something listens there, ConfigError when the address is not one of this machine."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except socket.gaierror as error:
        raise ConfigError(f"{host!r} is no address of this machine: leave --host out.", field="host") from error
    except PermissionError as error:
        raise ConfigError(f"Port {port} needs an administrator: choose one above 1023.", field="port") from error
    except OSError as error:
        raise InUseError(
            f"Port {port} of {host} cannot be used ({error.strerror}): choose another with --port, or stop the program "
            "that has it."
        ) from error
