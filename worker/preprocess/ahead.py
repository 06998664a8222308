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


def _one(item: object) -> float:  # noqa: ARG001 - all alike
    return 1.0


def in_order(
    pool: Executor, items: Iterable[Item], work: Callable[[Item], Result], *, size: Callable[[Item], float] = _one
) -> Generator[Result]:
    """Results of `work` in the order of `items`, ahead of the one that is asked for at most WORKERS in `size`.

    Small items may wait in greater number: a large one among them then keeps only one thread.
    """
    waiting: deque[tuple[float, Future[Result]]] = deque()
    ahead = 0.0
    try:
        for item in items:
            waiting.append((size(item), pool.submit(work, item)))
            ahead += waiting[-1][0]
            while ahead > WORKERS:
                taken, future = waiting.popleft()
                ahead -= taken
                yield future.result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()
