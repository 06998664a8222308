"""`python -m worker --device DEVICE [--name NAME]`: serve one device until told to stop."""

from __future__ import annotations

import argparse
import sys

from shared.devices import discover_devices, parse_device
from shared.errors import SpectrainError
from shared.logs import configure_logs
from shared.settings import Settings
from worker.service import default_name, run_worker


def main() -> int:
    """Parse the command line and serve; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Serve one device until told to stop.")
    parser.add_argument("--device", default="auto", help="cuda:0, mps or cpu; auto takes the first that is there")
    parser.add_argument("--name", default="", help="name of the worker; <host>/<device> unless given")
    arguments = parser.parse_args()
    try:
        settings = Settings()
        configure_logs(settings.log_level, settings.log_format)
        device = discover_devices()[0] if arguments.device == "auto" else parse_device(arguments.device)
        return run_worker(settings, device, arguments.name or default_name(device))
    except SpectrainError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the last word to whoever started it
        return 1


if __name__ == "__main__":
    sys.exit(main())
