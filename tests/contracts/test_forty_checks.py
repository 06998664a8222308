"""Each of the forty checks of the page is one browser test, named after its number."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

BROWSER = Path(__file__).parent.parent / "browser"


def test_every_number_has_one_test() -> None:
    names = [
        found
        for path in sorted(BROWSER.glob("test_*.py"))
        for found in re.findall(r"^def test_(\d\d)_", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert Counter(names) == {f"{number:02}": 1 for number in range(1, 41)}
