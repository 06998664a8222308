"""Scratch folders: gone with their trainer, swept where it was killed, left alone while it lives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.scratch import scratch_folder, sweep_scratch

TRAINER = """
from worker.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "a").write_text("a")
    print(folder, flush=True)
    input()
"""
LONG_AGO = time.time() - 3 * 86_400


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that no other test has."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def trainer() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", TRAINER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def folder_of(trainer: subprocess.Popen[str]) -> Path:
    """As if it were made long ago."""
    assert trainer.stdout is not None
    folder = Path(trainer.stdout.readline().strip())
    os.utime(folder, (LONG_AGO, LONG_AGO))
    return folder


def test_a_folder_goes_with_what_was_made_in_it(place: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == place
        (folder / "a").write_text("a")
    assert not folder.exists()


def test_what_a_killed_trainer_left_is_swept(trainer: subprocess.Popen[str]) -> None:
    folder = folder_of(trainer)
    trainer.kill()
    trainer.wait()
    assert (folder / "a").exists()
    sweep_scratch().join()
    assert not folder.exists()


def test_what_a_trainer_works_in_is_left_alone(trainer: subprocess.Popen[str], place: Path) -> None:
    folder = folder_of(trainer)
    fresh = place / "spectrain-features-just-made"
    fresh.mkdir()
    strange = place / "spectrain-features-file"
    strange.touch()
    os.utime(strange, (LONG_AGO, LONG_AGO))
    sweep_scratch().join()
    assert (folder / "a").exists()
    assert fresh.exists()
    assert strange.exists()
    trainer.communicate("\n")
    assert not folder.exists()
