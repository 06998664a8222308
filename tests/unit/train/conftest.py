"""One thread for every test here: the work is small, and threads would only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.train.tools import Bench, one_thread_and_no_delay


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps are reported at once, so that a test can stop at any of them."""
    with one_thread_and_no_delay(monkeypatch):
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Six sounds and a store of their own."""
    return Bench(tmp_path)
