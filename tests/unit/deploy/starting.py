"""What service files, images and charts have in common: they start our command line, with settings of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from deploy.cli import spectrain
from shared.devices import parse_device
from shared.settings import Settings

SETTINGS: Final = frozenset(
    {f"SPECTRAIN_{name.upper()}" for name in Settings.model_fields} | {"REDIS_URL", "DATABASE_URL"}
)
"""Variables that are read."""


def assert_it_starts(arguments: Sequence[str]) -> None:
    """The command line takes these arguments, and the devices that they name can be; nothing is run."""
    name, *rest = arguments
    command = spectrain.get_command(click.Context(spectrain), name)
    assert command is not None
    for device in command.make_context(name, rest).params.get("devices", ()):
        parse_device(device)
