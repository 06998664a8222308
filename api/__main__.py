"""`python -m api`: serve, with settings from the environment."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from api.serve import serve
from shared.config import config_error
from shared.errors import SpectrainError
from shared.settings import Settings


def main() -> int:
    """Serve until a signal; 1 where it cannot start, with the reason on standard error."""
    try:
        serve(Settings())
    except ValidationError as error:
        sys.stderr.write(f"A setting cannot work: {config_error(error)}.\n")
        return 1
    except SpectrainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
