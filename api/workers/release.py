"""The wheel that other machines install: this very Spectrain, without the page.

It is put together from the packages as they are installed here, and from what pip noted about them, so that it needs no
build tools, no network and no source tree. The same content gives the same bytes: its SHA-256 tells whether a
machine has it already.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import shared
from shared.errors import ServiceError

_ROOT: Final = Path(shared.__file__).resolve().parent.parent
_PACKAGES: Final = ("shared", "worker", "api", "deploy")
_LEFT_OUT: Final = ("__pycache__", "web")
"""Folders that a machine without a browser does not need: `web` is the page."""
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: spectrain\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file knows: when a file was copied is no part of its content."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A wheel in memory, with what belongs to it."""

    version: str
    file_name: str
    wheel: bytes
    sha256: str
    constraints: str
    """The exact versions of everything else, for pip's `--constraint`."""


@cache
def this_release() -> Release:
    """What runs here; raises ServiceError where that was never installed."""
    try:
        installed = distribution("spectrain")
    except PackageNotFoundError as error:
        raise ServiceError(
            "This server runs from a source tree that was not installed, so no other machine can install the same: "
            "start it with ./deploy/up."
        ) from error
    wheel = make_wheel(installed, _ROOT)
    return Release(
        version=installed.version,
        file_name=f"spectrain-{installed.version}-py3-none-any.whl",
        wheel=wheel,
        sha256=hashlib.sha256(wheel).hexdigest(),
        constraints=(_ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8"),
    )


def make_wheel(installed: Distribution, root: Path) -> bytes:
    """A wheel of the packages under `root` with the metadata of `installed`."""
    info = f"spectrain-{installed.version}.dist-info"
    files = {path.relative_to(root).as_posix(): path.read_bytes() for name in _PACKAGES for path in _files(root / name)}
    files |= {f"{info}/{name}": (installed.read_text(name) or "").encode() for name in ("METADATA", "entry_points.txt")}
    files |= {
        f"{info}/licenses/{path.name}": Path(str(path.locate())).read_bytes()
        for path in installed.files or ()
        if path.parent.as_posix() == f"{info}/licenses"
    }
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    record = f"{info}/RECORD"
    lines = [f"{name},sha256={_record_hash(content)},{len(content)}" for name, content in sorted(files.items())]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_file():
            yield entry
        elif entry.name not in _LEFT_OUT and not entry.name.startswith("."):
            yield from _files(entry)


def _record_hash(content: bytes) -> str:
    """As RECORD has it: URL-safe base64 without its padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
