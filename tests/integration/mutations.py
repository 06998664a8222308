"""Audio files as a stranger might send them: good ones of every container, changed by chance from a seed.

Flipped bytes, lengths that lie, ends that are missing, pieces twice or of another file, headers of one format before
the sound of another. Sound Designer II is not among them: half of such a file is a second one beside it, which
libsndfile writes into the working directory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
import soundfile

from tests.sounds import make_sound

CONTAINERS: Final = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("AU", "ULAW"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("VOC", "PCM_16"),
    ("NIST", "PCM_16"),
    ("SVX", "PCM_16"),
    ("AVR", "PCM_16"),
    ("PAF", "PCM_16"),
    ("IRCAM", "PCM_16"),
    ("MAT5", "FLOAT"),
)
_LENGTHS: Final = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
_NAMES: Final = ("../../../../etc/passwd", "C:\\x\\y.wav", "\u202egnp.wav", "a" * 3000, ".", "x/../../y", "%00.wav", "")


def good_files() -> list[bytes]:
    """One small file of each container that this machine's libsndfile writes."""
    files: list[bytes] = []
    for container, subtype in CONTAINERS:
        content = io.BytesIO()
        rate = 8_000 if subtype == "GSM610" else 48_000
        try:
            soundfile.write(content, make_sound(1, duration_s=0.1), rate, format=container, subtype=subtype)
        except (soundfile.LibsndfileError, ValueError, TypeError):
            continue
        files.append(content.getvalue())
    return files


def mutated_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` names and contents."""
    random, good = np.random.default_rng(seed), good_files()
    for number in range(count):
        content = bytearray(good[int(random.integers(len(good)))])
        for _ in range(int(random.integers(1, 4))):
            content = _changed(content, good, random)
        name = _NAMES[number % len(_NAMES)] if number % 3 == 0 else f"{number}.wav"
        yield name, bytes(content)


def _changed(content: bytearray, good: list[bytes], random: np.random.Generator) -> bytearray:
    size = max(1, len(content))
    # Most of what can go wrong stands at the beginning.
    place = int(random.integers(min(size, 200) if random.random() < 0.7 else size))
    match int(random.integers(7)):
        case 0:
            for _ in range(int(random.integers(1, 30))):
                at = int(random.integers(min(size, 400)))
                content[at : at + 1] = bytes([int(random.integers(256))])
        case 1:
            order = ("<I", ">I", "<H", ">H")[int(random.integers(4))]
            limit = 0xFFFF_FFFF if order[1] == "I" else 0xFFFF
            value = min(limit, _LENGTHS[int(random.integers(len(_LENGTHS)))])
            content[place : place + struct.calcsize(order)] = struct.pack(order, value)
        case 2:
            del content[int(random.integers(size)) :]
        case 3:
            piece = content[place : place + int(random.integers(1, 2_000))]
            content[place:place] = piece * int(random.integers(1, 20))
        case 4:
            other = good[int(random.integers(len(good)))]
            content[place:] = other[min(place, len(other)) :]
        case 5:
            del content[place : place + int(random.integers(1, 500))]
        case _:
            content[place:place] = random.bytes(int(random.integers(1, 300)))
    return content
