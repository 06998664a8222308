"""Texts of a set form that people write, each with what its form is, in words."""

from __future__ import annotations

from typing import Final

DEVICE: Final = r"^(auto|cpu|mps|cuda(:\d+)?)$"
LABEL: Final = r"^[a-z0-9][a-z0-9._-]{0,39}$"
CLOCK_TIME: Final = r"^([01]\d|2[0-3]):[0-5]\d$"

IN_WORDS: Final = {
    DEVICE: "this must be auto, cpu, mps (a Mac's), cuda, or one of several CUDA devices such as cuda:0",
    LABEL: "a label has up to 40 small letters, digits, dots, hyphens and underscores, and begins with one of the first"
    " two",
    CLOCK_TIME: "a time of day is written as 23:00",
}
"""By pattern: what a person is told whose text does not fit it."""
