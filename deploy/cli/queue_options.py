"""Options of new and edited jobs that are about the queue: where and when a job runs, before which others, after which.

What is said becomes values of a request; what is not said is left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError

from shared.config import config_error
from shared.placement import DailyHours, Placement

PRIORITIES: Final = ("low", "normal", "high")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

Command = TypeVar("Command", bound=Callable[..., Any])


def placement_options(function: Command) -> Command:
    """Add the options that `placement_values` reads."""
    for option in reversed(
        (
            click.option("--label", "labels", multiple=True, help="Only on workers with this label; repeatable."),
            click.option("--worker", help="Only on this worker, by the name that `spectrain workers` tells."),
            click.option(
                "--hours",
                metavar="HH:MM-HH:MM",
                help="Only in these hours of each day, such as 23:00-07:00: outside of them it saves and waits.",
            ),
            click.option(
                "--only-when-idle", is_flag=True, default=None, help="Only while nothing else keeps the machine busy."
            ),
            click.option(
                "--time-limit", metavar="TIME", help="Save and pause after so long altogether, such as 2h or 90m."
            ),
            click.option(
                "--min-memory", metavar="SIZE", help="Only where so much memory of the device is free, such as 6G."
            ),
        )
    ):
        function = option(function)
    return function


def order_options(function: Command) -> Command:
    """Add `--priority` and `--after`."""
    after = click.option(
        "--after",
        multiple=True,
        metavar="JOB",
        type=click.IntRange(min=1),
        help="Start once this job has completed; repeatable.",
    )
    priority = click.option("--priority", type=click.Choice(PRIORITIES), help="Before all jobs of lower priorities.")
    return priority(after(function))


def placement_values(values: dict[str, Any]) -> dict[str, Any]:
    """Take what was said of the placement out of the options `values` of a command, as values of a Placement.

    Raises click.BadParameter for what is of another form.
    """
    said = {name: values.pop(name) for name in ("labels", "worker", "hours", "only_when_idle")}
    said["time_limit_s"] = parse_duration(values.pop("time_limit"))
    said["min_free_memory_bytes"] = parse_size(values.pop("min_memory"))
    said["hours"] = parse_hours(said["hours"])
    return {name: value for name, value in said.items() if value not in (None, ())}


def placement_of(values: Mapping[str, Any], before: Placement | None = None) -> Placement:
    """`before` with `values`; raises ConfigError that names the field."""
    try:
        return Placement.model_validate({**(before or Placement()).model_dump(exclude_unset=True), **values})
    except ValidationError as error:
        raise config_error(error) from error


def parse_duration(text: str | None) -> float | None:
    """2h, 90m, 1h30m, 45s or seconds, in seconds."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)?", text.lower())
    if not parts or not re.fullmatch(r"(\s*\d+(\.\d+)?\s*(s|min|m|h|d)?)+\s*", text.lower()):
        raise click.BadParameter(f"{text!r} is no time: give it as 2h, 90m or 1h30m.", param_hint="--time-limit")
    return sum(float(amount) * _SECONDS[unit or "s"] for amount, unit in parts)


def parse_size(text: str | None) -> int | None:
    """6G, 500M or bytes, in bytes: K, M, G and T are powers of 1024."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if match is None:
        raise click.BadParameter(f"{text!r} is no size: give it as 6G or 500M.", param_hint="--min-memory")
    return int(float(match[1]) * 1024 ** _POWERS[match[2]])


def parse_hours(text: str | None) -> DailyHours | None:
    """23:00-07:00."""
    if text is None:
        return None
    start, _, end = (part.strip().zfill(5) for part in text.partition("-"))
    try:
        return DailyHours(start=start, end=end)
    except ValidationError as error:
        raise click.BadParameter(f"{text!r} are no hours: give them as 23:00-07:00.", param_hint="--hours") from error
