"""Results in order, from threads that never run far ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.preprocess.ahead import WORKERS, in_order


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield pool


def test_results_keep_their_order_and_wait_for_whoever_takes_them(pool: ThreadPoolExecutor):
    begun: list[int] = []

    def square(number: int) -> int:
        begun.append(number)
        return number**2

    results = in_order(pool, iter(range(100)), square)
    taken = 0
    for number, result in enumerate(results):
        taken += 1
        assert result == number**2
        assert max(begun) <= taken + WORKERS
    assert taken == 100


def test_small_items_go_further_ahead_than_large_ones(pool: ThreadPoolExecutor):
    """A large item at the front keeps one thread while the small ones behind it are done."""
    small_done = threading.Semaphore(0)

    def work(number: int) -> bool:
        if number:
            small_done.release()
            return True
        return all(small_done.acquire(timeout=10.0) for _ in range(4 * (WORKERS - 1)))

    results = in_order(pool, range(4 * WORKERS), work, size=lambda number: 0.25 if number else 1.0)
    if WORKERS > 1:
        assert next(results), "they waited for the large one"
    assert all(results)


def test_an_error_comes_where_its_result_would_and_the_rest_is_dropped(pool: ThreadPoolExecutor):
    go_on = threading.Event()

    def divide(number: int) -> float:
        if number > 3:
            go_on.wait(10.0)
        return 1 / (3 - number)

    results = in_order(pool, range(100), divide)
    try:
        assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []
    finally:
        go_on.set()
