"""One thread, which is quicker for small tensors, and the sounds that the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def harmonic_sound() -> torch.Tensor:
    """[1, 1, 48000]: a decaying 220 Hz tone of eight partials over quiet noise, peak 1, at 48 kHz."""
    time = torch.arange(48_000) / 48_000
    partials = sum(torch.sin(2 * torch.pi * 220.0 * n * time) / n for n in range(1, 9))
    noise = torch.randn(48_000, generator=torch.Generator().manual_seed(1)) * 0.01
    sound = partials * torch.exp(-3 * time) + noise
    return (sound / sound.abs().max())[None, None]
