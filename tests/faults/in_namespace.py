"""A worker in another network namespace: `NETNS=/run/netns/NAME python -m tests.faults.in_namespace ...`."""

from __future__ import annotations

import ctypes
import os
import runpy
from pathlib import Path

_CLONE_NEWNET = 0x40000000

if __name__ == "__main__":
    with Path(os.environ["NETNS"]).open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "The network namespace cannot be entered.")
    runpy.run_module("worker", run_name="__main__")
