"""Entry of `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import responsiveness

Results = dict[str, dict[str, float]]

BENCHMARKS: dict[str, Callable[[Path | None], Results]] = {"responsiveness": responsiveness.measure}


def machine() -> str:
    """This machine, as far as it decides times."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--corpus", type=Path, help="folder of sounds; small ones are made where it is not given")
    arguments = parser.parse_args()
    results = BENCHMARKS[arguments.name](arguments.corpus)
    console = Console()
    for case, values in results.items():
        table = Table(title=f"{arguments.name}: {case}", title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for figure, value in values.items():
            table.add_row(figure, f"{value:,.3f}")
        console.print(table)
    if arguments.json:
        print(json.dumps({"name": arguments.name, "machine": machine(), "results": results}))  # noqa: T201


if __name__ == "__main__":
    main()
