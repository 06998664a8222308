"""The bench of the record's tests, on the database that the test names."""

from __future__ import annotations

import pytest

from tests.unit.record.bench import Bench


@pytest.fixture
def bench(record_url: str):
    bench = Bench(record_url)
    yield bench
    bench.database.close()
