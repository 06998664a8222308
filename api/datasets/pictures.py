"""Pictures of sounds: a spectrogram as PNG in a perceptual colour map, a waveform as SVG.

    file -> drawn by a process with limits (`api.datasets.limited`) -> coloured and packed here -> kept for a while

A sound never changes under its key, so neither does its picture: browsers keep it for good.
"""

from __future__ import annotations

import base64
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from api.datasets.limited import LimitedDecoder
from shared.errors import AudioError

SPECTROGRAM_SIZE: Final = (400, 120)
"""Columns and rows."""
WAVEFORM_COLUMNS: Final = 240
_KEPT_BYTES: Final = 32 << 20
_TIMEOUT_S: Final = 30.0
_STOPS: Final = (
    (10, 8, 22),
    (52, 24, 110),
    (124, 42, 150),
    (196, 62, 132),
    (240, 112, 96),
    (252, 176, 104),
    (255, 240, 196),
)
"""From silence to loud: near black, violet, plum, rose, coral, amber, cream; sRGB."""
_SHADES: Final = 256


class SoundPictures:
    """Draws, and keeps what was drawn lately. `close` ends the process that decodes."""

    def __init__(self) -> None:
        self._decoder = LimitedDecoder(timeout_s=_TIMEOUT_S)
        self._kept = OrderedDict[str, bytes]()
        self._kept_bytes = 0
        self._turn = threading.Lock()

    def spectrogram(self, key: str, file: Path) -> bytes:
        """The sound `key` of the store, which lies in `file`, as PNG; raises AudioError where it cannot be read."""
        width, height = SPECTROGRAM_SIZE

        def drawn() -> bytes:
            levels = base64.b64decode(self._ask(file, columns=width, rows=height)["levels"])
            return png(levels, width, height)

        return self._once(f"{key} spectrogram", drawn)

    def waveform(self, key: str, file: Path) -> bytes:
        """The same as the area between the lowest and the highest samples, as SVG."""

        def drawn() -> bytes:
            answer = self._ask(file, columns=WAVEFORM_COLUMNS)
            return waveform_svg(answer["low"], answer["high"]).encode()

        return self._once(f"{key} waveform", drawn)

    def close(self) -> None:
        """End the process."""
        self._decoder.close()

    def _ask(self, file: Path, **wishes: int) -> dict[str, Any]:
        answer = self._decoder.ask(file, **wishes)
        if "refused" in answer:
            raise AudioError("This sound cannot be drawn.", file_name=file.name)
        return answer

    def _once(self, key: str, draw: Callable[[], bytes]) -> bytes:
        with self._turn:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        picture = draw()
        with self._turn:
            if key not in self._kept:
                self._kept[key] = picture
                self._kept_bytes += len(picture)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return picture


def png(levels: bytes, width: int, height: int) -> bytes:
    """`levels`, a byte a cell and row by row, as an indexed PNG."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\x00" + levels[row * width : (row + 1) * width] for row in range(height))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes(part for shade in palette() for part in shade)),
            chunk(b"IDAT", zlib.compress(rows, 6)),
            chunk(b"IEND", b""),
        )
    )


def waveform_svg(low: list[float], high: list[float]) -> str:
    """The area between `low` and `high` (each in [-1, 1]), stretched to whatever box it is put in."""
    columns = len(high)
    above = [f"{column},{1 - value:.3f}" for column, value in enumerate(high)]
    # Silence is a thin line, not nothing.
    below = [f"{column},{1 - min(value, high[column] - 0.02):.3f}" for column, value in reversed(list(enumerate(low)))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns - 1} 2" preserveAspectRatio="none">'
        f'<path d="M{" ".join(above)} {" ".join(below)}z"/></svg>'
    )


def lightness(colour: tuple[float, float, float]) -> float:
    """CIE L* of an sRGB colour (0 … 255 each), 0 … 100."""
    linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@cache
def palette() -> list[tuple[int, int, int]]:
    """sRGB by level: shades along `_STOPS` whose lightness rises by equal steps, so that equal steps look equal."""
    fine = 4096
    path: list[tuple[float, float, float]] = []
    for index in range(fine):
        place = index / (fine - 1) * (len(_STOPS) - 1)
        low = min(int(place), len(_STOPS) - 2)
        a, b, part = _STOPS[low], _STOPS[low + 1], place - low
        path.append((a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part, a[2] + (b[2] - a[2]) * part))
    light = [lightness(colour) for colour in path]
    shades: list[tuple[int, int, int]] = []
    at = 0
    for shade in range(_SHADES):
        wanted = light[0] + (light[-1] - light[0]) * shade / (_SHADES - 1)
        while at < fine - 1 and light[at] < wanted:
            at += 1
        red, green, blue = path[at]
        shades.append((round(red), round(green), round(blue)))
    return shades
