"""The page asks the api's own table of roles what it may show: every route that it names is one of the table."""

from __future__ import annotations

import re
from pathlib import Path

from api.access.roles import Role
from api.access.views import TOKEN_DAYS
from api.routes.access import ROUTES

SOURCES = Path(__file__).parents[2] / "api" / "web" / "src"
ASKED = re.compile(r'''(?:may\(|route=)"([a-z_]+\.[a-z_]+)"''')
SHOWN_NOWHERE = {
    # What the page shows only together with something else of the same role, and what only programs ask for.
    *(
        "jobs.check_job",
        "jobs.check_sweep",
        "jobs.submit_batch",
        "jobs.submit_sweep",
        "jobs.duplicate_job",
        "jobs.act_on_jobs",
    ),
    *("artifacts.unpin_checkpoint", "models.import_model", "tokens.list_tokens", "tokens.revoke_token"),
    *("notifications.list_targets", "notifications.create_target", "notifications.try_target"),
    *("notifications.remove_target", "disk.get_garbage", "disk.collect_garbage"),
}


def test_the_page_asks_for_routes_that_there_are() -> None:
    asked = {name for path in SOURCES.rglob("*.ts*") for name in ASKED.findall(path.read_text())}
    for_some = {endpoint for endpoint, role in ROUTES.items() if role in (Role.MEMBER, Role.ADMIN)}
    assert asked <= for_some, "these are open to everybody who looks, or are no routes"
    assert for_some - asked == SHOWN_NOWHERE, "the page must ask who may, or this test must say why not"


def test_a_token_counts_as_long_wherever_it_is_made() -> None:
    form = (SOURCES / "pages" / "workers" / "AddMachine.tsx").read_text()
    assert f"const TOKEN_DAYS = {TOKEN_DAYS:g};" in form
