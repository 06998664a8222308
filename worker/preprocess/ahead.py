"""Work on several threads whose results come in order, with no more of them waiting than memory should hold."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import Final, TypeVar

WORKERS: Final = min(8, os.cpu_count() or 1)
"""Pieces of work that are done at the same time, each by one thread."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(pool: Executor, items: Iterable[Item], work: Callable[[Item], Result]) -> Generator[Result]:
    """Results of `work` in the order of `items`, at most WORKERS of them ahead of the one that is asked for."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
