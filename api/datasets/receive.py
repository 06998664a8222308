"""Receiving a multipart upload part by part.

A request may bring thousands of files and gigabytes. Each part goes to a temporary file of its own, is hashed on
the way, handed over and removed before the next one is read: neither memory nor open files grow with the request.
"""

from __future__ import annotations

import hashlib
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from werkzeug.exceptions import BadRequest
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Event, Field, File, MultipartDecoder

from api.record.datasets import MAX_CLIP_NAME_LENGTH
from shared.errors import ConfigError

MAX_FILES: Final = 2_000
"""Files in one request."""
FIELD: Final = "files"
"""Name of the form's field; it is repeated."""
_MAX_FIELDS: Final = 100
"""Parts that are no files, which a form may bring along."""
_READ_BYTES: Final = 65_536
_MAX_HEADER_BYTES: Final = 1 << 20
_PREFIX: Final = "upload-"


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """A part of an upload on this machine's disk, until the next one is asked for."""

    name: str
    """The name that the person's computer gave, made fit to be shown."""
    path: Path
    sha256: str
    size_bytes: int


def receive_files(stream: IO[bytes], boundary: str, folder: Path) -> Iterator[ReceivedFile]:
    """The files of a multipart body, each valid until the next is asked for.

    Raises ConfigError for something else than files in the field `files`, or too many of them; BadRequest for a
    body that is no multipart; OSError where the disk is full. What `stream` raises passes through.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = _events(stream, boundary)
    count = fields = 0
    for event in events:
        if isinstance(event, Epilogue):
            return
        if isinstance(event, Field):
            fields += 1
            if fields > _MAX_FIELDS:
                raise ConfigError(f"Send nothing but files in the field {FIELD!r}.", field=FIELD)
        if not isinstance(event, File):
            # The preamble, or a field without a file name: nothing that is kept.
            continue
        if event.name != FIELD:
            raise ConfigError(f"Send the files in the field {FIELD!r}, not in {event.name!r}.", field=FIELD)
        count += 1
        if count > MAX_FILES:
            raise ConfigError(f"Send at most {MAX_FILES:,} files in one request.", field=FIELD)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX, buffering=0) as file:
            digest, size = hashlib.sha256(), 0
            for part in events:
                if not isinstance(part, Data):
                    raise BadRequest("The upload is not valid multipart form data.")
                file.write(part.data)
                digest.update(part.data)
                size += len(part.data)
                if not part.more_data:
                    break
            yield ReceivedFile(
                name=display_name(event.filename), path=Path(file.name), sha256=digest.hexdigest(), size_bytes=size
            )


def remove_leftovers(folder: Path) -> None:
    """Remove what an api that was killed in the middle of an upload left in `folder`."""
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def display_name(name: str) -> str:
    """`name` as it may be shown: composed Unicode, forward slashes, no control or direction characters, no `..`.

    It is never used as a path. At most 1,024 characters are kept, the last ones.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    name = "".join(character for character in name if _is_shown(character))
    parts = (part.strip() for part in name.split("/"))
    kept = "/".join(part for part in parts if part not in ("", ".", ".."))
    return kept[-MAX_CLIP_NAME_LENGTH:].lstrip("/ ") or "unnamed"


def _is_shown(character: str) -> bool:
    # Joiners belong to emoji and to some scripts; the other format characters can turn a name around.
    return character in "\u200c\u200d" or not unicodedata.category(character).startswith("C")


def _events(stream: IO[bytes], boundary: str) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary.encode(), _MAX_HEADER_BYTES)
    while True:
        try:
            event = decoder.next_event()
        except ValueError as error:
            raise BadRequest("The upload is not valid multipart form data.") from error
        if event is NEED_DATA:
            decoder.receive_data(stream.read(_READ_BYTES) or None)
            continue
        yield event
        if isinstance(event, Epilogue):
            return
