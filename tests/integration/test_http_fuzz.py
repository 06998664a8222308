"""The HTTP API, called as its own description allows and as it does not: it never answers with an error of its own.

A few calls of each operation, and hundreds of each with --security.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.sounds import write_sounds
from tests.system import System

SILENT = ("/api/v1/store",)
"""Reached with a worker's token alone."""


@pytest.mark.security
def test_no_call_is_answered_with_an_error_of_the_server(
    tmp_path: Path, redis_url: str, figures: list[str], *, thorough: bool
) -> None:
    many = {"submits_per_minute": "1000000", "uploads_per_minute": "1000000"}
    with System(tmp_path / "data", redis_url, **many) as system:
        system.start_api()
        system.add_dataset("kicks", write_sounds(tmp_path / "kicks", 3))
        system.post("/jobs", {"kind": "train", "dataset": "kicks", "held": True})
        token = system.post("/tokens", {"name": "a worker"})["secret"]
        ended = fuzz(system, tmp_path, 300 if thorough else 4)
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
        of_worker = fuzz(system, tmp_path, 300 if thorough else 4, "--include-path-regex", SILENT[0], token=token)
        assert of_worker.returncode == 0, of_worker.stdout[-6000:] + of_worker.stderr[-2000:]
        told = [line for line in ended.stdout.splitlines() if "generated" in line or "Operations" in line]
        figures += told
        assert httpx.get(f"{system.url}/readyz", timeout=30.0).status_code == 200


def fuzz(system: System, folder: Path, examples: int, *more: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """Run schemathesis on the api's own description."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(httpx.get(f"{system.url}/openapi.json", timeout=30.0).json()))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", system.url, "--no-color"]
    command += ["--checks", "not_a_server_error", "--max-examples", str(examples), "--seed", "1", "--warnings", "off"]
    command += ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", *more]
    command += ["--request-timeout", "60"]  # a slow machine's first upload waits for the process that decodes
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
