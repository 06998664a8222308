"""`python -m api`: serve, with settings from the environment."""

from __future__ import annotations

import sys

from api.serve import serve
from shared.errors import SpectrainError
from shared.settings import Settings


def main() -> int:
    """Serve until a signal; 1 where it cannot start, with the reason on standard error."""
    try:
        serve(Settings())
    except SpectrainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
