"""Who is logged in, as the page knows it: name, role, and what that role may not; and who submitted a job."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from api.access.roles import Role
from api.record.datasets import DatasetRecord
from api.routes.access import ROUTES
from tests.unit.api.conftest import clip
from tests.unit.api.network import Network

REQUEST = {"kind": "train", "dataset": "drums", "changes": {"epochs": 2}}


def page_session(network: Network, role: Role, name: str) -> Any:
    """What the page of somebody who logs in says of them."""
    browser = network.app.test_client()
    network.log_in(network.tokens.create(name=name, role=role).secret, browser)
    page = network.ask("GET", "/", client=browser).text
    found = re.search(r'<meta name="csrf" content="\w+" data-session="([^"]*)">', page)
    assert found is not None, page
    told = json.loads(unescape(found[1]))
    assert told == network.ask("GET", "/api/v1/session", client=browser).json
    return told


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_the_page_knows_name_role_and_what_the_role_may_not(network: Network, role: Role) -> None:
    told = page_session(network, role, "ann")
    assert (told["name"], told["role"]) == ("ann", role)
    members = {endpoint for endpoint, wanted in ROUTES.items() if wanted is Role.MEMBER}
    admins = {endpoint for endpoint, wanted in ROUTES.items() if wanted is Role.ADMIN}
    for_others = {Role.ADMIN: set[str](), Role.MEMBER: admins, Role.VIEWER: admins | members}[role]
    assert told["refused"].keys() == for_others
    assert {told["refused"][endpoint] for endpoint in for_others & members} <= {"member"}
    assert {told["refused"][endpoint] for endpoint in for_others & admins} <= {"admin"}


def test_a_name_stays_a_name_in_the_page(network: Network) -> None:
    hostile = """"><script>alert('x')</script>&quot;"""
    assert page_session(network, Role.VIEWER, hostile)["name"] == hostile


def test_a_job_says_who_submitted_it(network: Network) -> None:
    datasets = DatasetRecord(network.core.database)
    datasets.add_clips(datasets.create("drums").id, [clip(number) for number in range(12)])
    ann = network.tokens.create(name="ann", role=Role.MEMBER).secret
    ben = network.tokens.create(name="ben", role=Role.MEMBER).secret

    def submitted_by(job_id: int) -> str:
        return str(network.ask("GET", f"/api/v1/jobs/{job_id}", token=ann).json["submitted_by"])

    first = network.ask("POST", "/api/v1/jobs", token=ann, json=REQUEST).json
    assert first["submitted_by"] == submitted_by(first["id"]) == "ann"
    again = network.ask("POST", f"/api/v1/jobs/{first['id']}/duplicate", token=ben, json={}).json
    assert (again["submitted_by"], submitted_by(first["id"])) == ("ben", "ann")
    batch = network.ask("POST", "/api/v1/jobs/batch", token=ben, json={"jobs": [REQUEST, REQUEST]}).json
    sweep = {"job": REQUEST, "vary": {"latent_dim": [8, 16]}}
    swept = network.ask("POST", "/api/v1/jobs/sweep", token=ann, json=sweep).json
    assert [submitted_by(job_id) for job_id in (*batch["jobs"], *swept["jobs"])] == ["ben", "ben", "ann", "ann"]
    edited = network.ask("POST", f"/api/v1/jobs/{first['id']}/edit", token=ben, json={"priority": "high"}).json
    assert edited["submitted_by"] == "ann", "whoever changes it later did not submit it"
