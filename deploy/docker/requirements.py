"""`python requirements.py WHEEL [--extra NAME]... [--without-torch]`: what the wheel requires, one line each.

Runs while an image is built, before anything is installed: standard library alone. The api never imports torch, so its
image leaves out torch and what only the engine uses.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ENGINE = ("torch", "torchaudio", "python-stretch", "soxr", "safetensors")
"""What `worker` and the half of `shared` with torch use, and nothing else."""
_EXTRA = re.compile(r"""^\(?(?P<marker>.*?)\)?(?:\s+and\s+)?\(?extra\s*==\s*['"](?P<extra>[\w-]+)['"]\)?$""")


def requirements(metadata: str, *, extras: tuple[str, ...], without: tuple[str, ...]) -> list[str]:
    """Lines for pip out of a wheel's METADATA: what it requires, and what `extras` add, but for `without`."""
    kept: list[str] = []
    for line in HeaderParser().parsestr(metadata).get_all("Requires-Dist") or []:
        requirement, _, marker = line.partition(";")
        extra = _EXTRA.match(marker.strip())
        if extra is not None and extra["extra"] not in extras:
            continue
        name = re.split(r"[^\w.-]", requirement.strip())[0].lower()
        if name not in without:
            condition = extra["marker"].strip() if extra is not None else marker.strip()
            kept.append(f"{requirement.strip()}; {condition}" if condition else requirement.strip())
    return kept


def read_metadata(wheel: Path) -> str:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def main() -> int:
    """Print them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--without-torch", action="store_true")
    options = parser.parse_args()
    without = ENGINE if options.without_torch else ()
    lines = requirements(read_metadata(options.wheel), extras=tuple(options.extra), without=without)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
