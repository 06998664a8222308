"""Who may import whom: the api and the torch-free half of shared never reach torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH_FREE = (
    "api.app",
    "api.core",
    "api.serve",
    "api.openapi",
    "shared.config",
    "shared.control",
    "shared.devices",
    "shared.event_bus",
    "shared.jobs",
    "shared.lease",
    "shared.planning",
    "shared.settings",
    "shared.storage",
)
HEAVY = ("torch", "torchaudio", "numpy", "soundfile", "alembic")
"""What the api's process never loads: it would not start in time, and its memory is asked for elsewhere."""


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_imports_follow_the_contracts() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    assert program.exists(), "install import-linter: pip install -e .[test]"
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
