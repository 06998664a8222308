"""What operators read agrees with what there is: settings, metrics, files."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics.observed import Observed
from api.metrics.standing import Standing
from api.record.database import Database
from tests.unit.deploy.starting import SETTINGS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "deploy" / "OPERATING.md").read_text()
README = (ROOT / "README.md").read_text()
FOREIGN = {"SPECTRAIN_CHROMIUM"}
"""Read by the tests alone."""


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(table: str) -> list[str]:
    """The first cell of each row that names something."""
    return [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]


def test_every_setting_stands_in_the_readme_once() -> None:
    cells = first_cells(section(README, "Configuration"))
    named = [name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)]
    assert len(named) == len(set(named))
    ours = {name for name in named if not name.startswith("AWS_")} - FOREIGN
    # These go by names that other tools have.
    assert ours == SETTINGS - {"SPECTRAIN_REDIS_URL", "SPECTRAIN_DATABASE_URL"}


def test_the_page_names_settings_that_exist() -> None:
    assert set(re.findall(r"\bSPECTRAIN_[A-Z_]+|\bREDIS_URL|\bDATABASE_URL", PAGE)) <= SETTINGS


def test_every_metric_stands_on_the_page_once(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'record.db'}")
    database.migrate()
    observed = Observed()
    observed.registry.register(Standing(database=database, workers=dict, parts=(), sockets=lambda: 0, data=tmp_path))
    text = generate_latest(observed.registry).decode()
    database.close()
    families = text_string_to_metric_families(text)
    there = [
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name.startswith("spectrain_")
    ]
    named = [name for cell in first_cells(section(PAGE, "What to watch")) for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(there)


def test_the_files_that_are_spoken_of_are_there() -> None:
    table = section(README, "Running it as a service")
    for name in re.findall(r"`((?:systemd|launchd|docker|helm|grafana)/[\w./@-]+)`", table):
        assert (ROOT / "deploy" / name).exists(), name
    for name in re.findall(r"/opt/spectrain/([\w./-]+)", table):
        assert (ROOT / name).exists(), name
