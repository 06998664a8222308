"""One thread for every test here: the work is small, and threads would only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.train.tools import Bench
from worker.train import metrics


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps are reported at once, so that a test can stop at any of them."""
    monkeypatch.setattr(metrics, "FLUSH_EVERY_S", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Six sounds and a store of their own."""
    return Bench(tmp_path)
