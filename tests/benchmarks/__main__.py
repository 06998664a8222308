"""Entry of `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measuring import Options, Results, machine
from worker.train.process import denormals_as_zero

BENCHMARKS: Final = (
    "bulk",
    "checkpoint",
    "day",
    "dispatch",
    "events",
    "mel-inverse",
    "preprocess",
    "preview",
    "quality",
    "reconstruction",
    "reporting",
    "responsiveness",
    "roundtrip",
    "scheduler",
    "train-step",
)
"""Each is a module of this package, with a function `measure`."""


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--corpus", type=Path, help="folder of sounds; small ones are made where it is not given")
    parser.add_argument(
        "--seconds",
        type=float,
        default=Options.seconds,
        help="quality: training time of each model; events: time of each side (%(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=Options.steps, help="reconstruction: training steps of each model (%(default)s)"
    )
    parser.add_argument(
        "--device", default=Options.device, help="where steps are computed: cpu, mps, cuda:0 … (%(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spectrain-benchmark-") as folder:
        options = Options(
            folder=Path(folder),
            corpus=arguments.corpus,
            seconds=arguments.seconds,
            steps=arguments.steps,
            device=arguments.device,
        )
        with denormals_as_zero():  # as in a trainer, before torch starts its threads
            results = find_benchmark(arguments.name)(options)
    console = Console()
    for case, values in results.items():
        table = Table(title=f"{arguments.name}: {case}", title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for figure, value in values.items():
            parts = value if isinstance(value, Mapping) else {"": value}
            for part, number in parts.items():
                table.add_row(f"{figure} {part}".strip(), number if isinstance(number, str) else f"{number:,.4g}")
        console.print(table)
    if arguments.json:
        print(json.dumps({"name": arguments.name, "machine": machine(options.device), "results": results}))  # noqa: T201


def find_benchmark(name: str) -> Callable[[Options], Results]:
    """The function that measures `name`."""
    module = import_module(f"tests.benchmarks.{name.replace('-', '_')}")
    return cast(Callable[[Options], Results], module.measure)


if __name__ == "__main__":
    main()
