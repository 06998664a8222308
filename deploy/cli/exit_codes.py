"""What the exit code of `spectrain` tells a program."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes, each with its meaning."""

    meaning: str

    DONE = 0, "done; with --watch and `jobs watch`: the job completed"
    FAILED = 1, "failed; with --watch and `jobs watch`: the job failed"
    WRONG_INPUT = 2, "wrong usage, or a value that cannot work"
    UNREACHABLE = 3, "no server answers"
    CONFLICT = 4, "no such thing, or not possible in its state"
    STOPPED = 5, "with --watch and `jobs watch`: the job was cancelled or paused"
    INTERRUPTED = 130, "stopped by Ctrl-C; what runs on the server goes on"

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """A code that carries its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member
