"""Finds files that were cut off, which decoders read to their early end without a word.

libsndfile goes by what is there: a WAV whose header promises two seconds and which holds one is a file of one
second to it. Here the containers' own sizes are compared with the file's: RIFF and AIFF chunks, Ogg pages (RFC
3533), the byte count of the Xing or Info frame of an MP3. FLAC notices by itself. Only headers are read.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

_STREAMED: Final = 0x7FFFFF00
"""RIFF sizes from here on were written before the length was known (0x7FFFFFFF, 0xFFFFFFFF and their neighbours)."""
_MAX_CHUNKS: Final = 10_000
_OGG_PAGE: Final = struct.Struct("<4sBBqIIIB")
_LONGEST_OGG_PAGE: Final = _OGG_PAGE.size + 255 + 255 * 255
_XING_HAS_FRAMES: Final = 1
_XING_HAS_BYTES: Final = 2
_XING_TOLERANCE: Final = 0.02
"""Share of an MP3 that may be missing by its own count: writers disagree about what they count."""


def missing_bytes(path: Path) -> int:
    """Bytes that the file at `path` should have and has not; 0 for a whole file and for formats that do not tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(12)
        if magic[:4] in (b"RIFF", b"RIFX") and magic[8:] == b"WAVE":
            return _missing_in_chunks(file, size, data=b"data", order="<" if magic[:4] == b"RIFF" else ">")
        if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
            return _missing_in_chunks(file, size, data=b"SSND", order=">")
        if magic[:4] == b"OggS":
            return _missing_in_last_ogg_page(file, size)
        return _missing_in_mp3(file, size)


def _missing_in_chunks(file: BinaryIO, size: int, *, data: bytes, order: str) -> int:
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return 0
        name, length = struct.unpack(f"{order}4sI", header)
        if name == data:
            return 0 if length >= _STREAMED else max(0, position + 8 + length - size)
        position += 8 + length + length % 2
    return 0


def _missing_in_last_ogg_page(file: BinaryIO, size: int) -> int:
    start = max(0, size - _LONGEST_OGG_PAGE)
    file.seek(start)
    tail = file.read(_LONGEST_OGG_PAGE)
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    if len(tail) - page < _OGG_PAGE.size:
        return _OGG_PAGE.size - (len(tail) - page)
    segments = _OGG_PAGE.unpack_from(tail, page)[-1]
    table = tail[page + _OGG_PAGE.size :][:segments]
    # A page that is cut within its segment table misses at least the rest of the table.
    return max(0, page + _OGG_PAGE.size + segments + sum(table) - len(tail))


def _missing_in_mp3(file: BinaryIO, size: int) -> int:
    """By the byte count that encoders put into the first frame; 0 where there is none."""
    start = _id3_length(file)
    file.seek(start)
    frame = file.read(1024)
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    mpeg1, mono = frame[1] & 0x18 == 0x18, frame[3] & 0xC0 == 0xC0
    tag = 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))
    if frame[tag : tag + 4] not in (b"Xing", b"Info") or len(frame) < tag + 16:
        return 0
    flags = int.from_bytes(frame[tag + 4 : tag + 8], "big")
    if not flags & _XING_HAS_BYTES:
        return 0
    offset = tag + 8 + (4 if flags & _XING_HAS_FRAMES else 0)
    promised = int.from_bytes(frame[offset : offset + 4], "big")
    missing = start + promised - size
    return missing if missing > promised * _XING_TOLERANCE else 0


def _id3_length(file: BinaryIO) -> int:
    """Length of an ID3v2 tag before the sound: 10 bytes and four times seven bits."""
    file.seek(0)
    header = file.read(10)
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    length = 0
    for byte in header[6:10]:
        length = length << 7 | byte & 0x7F
    return 10 + length
