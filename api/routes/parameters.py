"""Parameters that several routes share. Unknown ones are errors, and every number has bounds."""

from __future__ import annotations

from typing import Final

from shared.config import Frozen

API: Final = "/api/v1"
ID: Final = "int(max=2147483647)"
"""Converter of ids in addresses; anything larger is an address that does not exist."""


class JobPath(Frozen):
    """Addresses of a job."""

    job_id: int
    """Number of the job."""


class DatasetPath(Frozen):
    """Addresses of a dataset."""

    dataset: str
    """Id or name of the dataset."""


class TokenPath(Frozen):
    """Addresses of a token."""

    token_id: int
    """Number of the token."""
