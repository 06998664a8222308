"""A webhook: one signed POST to an address that somebody typed, without becoming a way into our own network.

    URL -> scheme, no credentials -> every address that the name has is public -> connect to one of *these* -> POST

The name is looked up once, and what was checked is what is connected to: a name server that answers otherwise the
second time gains nothing. Redirects are not followed, proxies of the environment are not asked, of the answer only
the status counts, and one that takes its time is cut off.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from typing_extensions import override

from shared.errors import ConfigError, SpectrainError

TIMEOUT_S: Final = 10.0
"""For each step: connecting, the handshake, each piece of the answer."""
WHOLE_S: Final = 30.0
"""For all of it."""
_MOST_ADDRESSES: Final = 3
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_FIELD: Final = "url"

Resolve = Callable[[str, int], list[str]]
"""Addresses of a name."""


class DeliveryError(SpectrainError):
    """It was not delivered; `for_good` where trying again makes no sense."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


def check_url(url: str) -> SplitResult:
    """The parts of a webhook's URL; raises ConfigError for one that is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
        parts = urlsplit("")
    if not fits or any(ord(character) <= 32 or ord(character) > 126 for character in url):
        raise ConfigError("url: give the webhook as https://HOST/PATH.", field=_FIELD)
    if parts.username or parts.password:
        raise ConfigError("url: a webhook's address may hold no user and no password.", field=_FIELD)
    return parts


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, however it is written."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def resolve(host: str, port: int) -> list[str]:
    """What the system knows of a name; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def checked_addresses(host: str, port: int, *, private: bool, look_up: Resolve = resolve) -> list[str]:
    """Addresses that may be connected to; raises DeliveryError where one of them may not."""
    try:
        addresses = look_up(host, port)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"{host} has no address: {error}.") from error
    if not private and not all(is_public(address) for address in addresses):
        raise DeliveryError(
            f"{host} is in a private network, where no webhook is sent unless SPECTRAIN_NOTIFY_PRIVATE allows it.",
            for_good=True,
        )
    return addresses


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What X-Spectrain-Signature says."""
    return f"sha256={hmac.new(secret.encode(), timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def post(
    url: str,
    body: Mapping[str, Any],
    *,
    secret: str,
    delivery: str,
    private: bool,
    look_up: Resolve = resolve,
    timeout_s: float = TIMEOUT_S,
    whole_s: float = WHOLE_S,
) -> None:
    """Deliver `body` as JSON; raises DeliveryError unless the other side answers 2xx."""
    parts = check_url(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    addresses = checked_addresses(host, port, private=private, look_up=look_up)
    content, timestamp = json.dumps(dict(body)).encode(), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Spectrain",
        "X-Spectrain-Delivery": delivery,
        "X-Spectrain-Timestamp": timestamp,
        "X-Spectrain-Signature": signature(secret, timestamp, content),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _Pinned(host, port, addresses, tls=parts.scheme == "https", timeout_s=timeout_s)
    cut_off = threading.Timer(whole_s, connection.cut_off)
    try:
        with closing(connection):
            cut_off.start()
            connection.request("POST", path, content, headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise DeliveryError(f"{host} does not take it: {str(error) or type(error).__name__}.") from error
    finally:
        cut_off.cancel()
    if not 200 <= status < 300:
        again = status >= 500 or status in (408, 425, 429)
        raise DeliveryError(f"{host} answered with status {status}.", for_good=not again)


class _Pinned(http.client.HTTPConnection):
    """A connection to one of these addresses, whatever the name may mean by now."""

    def __init__(self, host: str, port: int, addresses: list[str], *, tls: bool, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._addresses = addresses
        self._tls = tls
        self._timeout_s = timeout_s
        self.default_port = 443 if tls else 80

    @override
    def connect(self) -> None:
        last: OSError | None = None
        for address in self._addresses[:_MOST_ADDRESSES]:
            try:
                plain = socket.create_connection((address, self.port), self._timeout_s)
            except OSError as error:
                last = error
                continue
            self.sock = plain  # what fails from here on is closed with it
            if self._tls:
                self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
            return
        raise last or OSError("it has no address")

    def cut_off(self) -> None:
        """Have whoever waits for the other side wait no longer."""
        connected = self.sock
        if isinstance(connected, socket.socket):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
