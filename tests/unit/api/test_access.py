"""Who may: every route and every socket event without a token and with every role."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, cast

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from structlog.contextvars import get_contextvars
from werkzeug.routing import Rule

from api.access.door import FAILURES_PER_MINUTE
from api.access.roles import Identity, Role
from api.access.tokens import Tokens
from api.app import create_app
from api.routes.access import EVENTS, ROUTES, check_table
from shared.errors import ConfigError
from shared.settings import Settings
from tests.unit.api.conftest import TwinCore
from tests.unit.api.network import Network

VALUES: Final = {
    "job_id": "1",
    "token_id": "1",
    "target_id": "1",
    "dataset": "1",
    "name": "1-20",
    "file": "0",
    "sha256": "0" * 64,
    "key": "jobs/1/checkpoints/1-20/state.pt",
}
OPEN: Final = {"/healthz", "/readyz", "/join", "/login"}
PERSONS: Final = (Role.ADMIN, Role.MEMBER, Role.VIEWER)


def calls(app: OpenAPI) -> list[tuple[str, str]]:
    """Every method of every route, with an address that fits it."""

    def path(rule: Rule) -> str:
        return re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda found: VALUES[found[1]], rule.rule)

    every = [(method, path(rule)) for rule in app.url_map.iter_rules() for method in sorted(rule.methods or ())]
    every.remove(("POST", "/login"))  # it refuses who has no token with a page
    return every


def is_for(role: Role, method: str, path: str) -> bool:
    """What a person would expect of roles, not knowing the table."""
    if path in OPEN:
        return True
    for_machines = path.startswith(("/api/v1/store/", "/api/v1/join"))
    if for_machines or role is Role.WORKER:
        return for_machines and role is Role.WORKER
    changes = method not in ("GET", "HEAD", "OPTIONS") and path != "/api/v1/session/logout"
    for_admins = (
        method == "DELETE"
        or path.startswith(("/api/v1/tokens", "/api/v1/disk/garbage", "/api/v1/notifications"))
        or (path.startswith("/api/v1/workers") and changes)
    )
    return role is Role.ADMIN or (not for_admins and (role is Role.MEMBER or not changes))


def test_nobody_without_a_token_gets_anything(network: Network) -> None:
    asked = calls(network.app)
    assert len(asked) > 100
    for method, path in asked:
        answer = network.ask(method, path)
        if path in OPEN:
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in ("/api/v1/nothing", "/socket.io/?EIO=4&transport=polling", "/metrics", "/openapi.json"):
        assert network.ask("GET", path).status_code == 401


@pytest.mark.parametrize("role", list(Role))
def test_every_role_gets_what_is_its_own_and_nothing_else(network: Network, role: Role) -> None:
    network.token(Role.VIEWER)  # the first token, which an administrator revokes below
    token = network.token(role)
    for method, path in calls(network.app):
        if method == "OPTIONS":
            continue  # asks like the methods that it speaks of
        answer = network.ask(method, path, token=token)
        if answer.status_code == 429:
            assert role in (Role.ADMIN, Role.MEMBER)
        else:
            assert (answer.status_code not in (401, 403)) is is_for(role, method, path), (method, path, answer.text)


def test_a_route_or_an_event_that_forgets_to_say_who_may_keeps_the_api_from_starting(
    core: TwinCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(cast(dict[str, Any], ROUTES), "jobs.cancel_job")
    with pytest.raises(RuntimeError, match=re.escape("['jobs.cancel_job']")):
        create_app(cast(Any, core), dist=tmp_path)
    with pytest.raises(RuntimeError, match="shout"):
        check_table(EVENTS, [*EVENTS, "shout"], "event")


def test_every_line_of_a_request_says_whose_it_is(network: Network) -> None:
    identity = network.tokens.holder(secret := network.token(Role.MEMBER))
    network.ask("POST", "/api/v1/jobs/1/cancel", token=secret)
    assert get_contextvars()["token"] == identity.token_id
    network.ask("GET", "/healthz")
    assert "token" not in get_contextvars()


def test_the_description_says_where_a_token_is_wanted(network: Network) -> None:
    document = network.ask("GET", "/openapi.json", token=network.token(Role.VIEWER)).json
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    asks = {path: "security" in each for path, item in document["paths"].items() for each in item.values()}
    assert {path for path, asked in asks.items() if not asked} == OPEN - {"/login"}


def test_health_is_told_to_all_and_its_details_to_those_who_may_look(network: Network) -> None:
    network.core.checks = {"disk": "/home/ann/data is full"}
    assert network.ask("GET", "/healthz").json == {"status": "ok"}
    assert (network.ask("GET", "/readyz").status_code, network.ask("GET", "/readyz").json["checks"]) == (503, {})
    for token in (network.token(Role.WORKER), "spt_wrong"):
        assert network.ask("GET", "/readyz", token=token).json["checks"] == {}
    assert "ann" in network.ask("GET", "/readyz", token=network.token(Role.VIEWER)).json["checks"]["disk"]


class TestSockets:
    @pytest.mark.parametrize("role", list(Role))
    def test_people_connect_and_machines_do_not(self, network: Network, role: Role) -> None:
        token = network.token(role)
        client = network.socket(token)
        assert client.is_connected() is (role in PERSONS)
        status = network.ask("GET", "/socket.io/?EIO=4&transport=polling", token=token).status_code
        assert status == (200 if role in PERSONS else 403)

    def test_nobody_connects_without_a_token(self, network: Network) -> None:
        assert not network.sockets.test_client(network.app).is_connected()
        assert not network.socket("x").is_connected()

    def test_strangers_are_refused_as_by_every_route(self, network: Network) -> None:
        for path in ("/socket.io/?EIO=4&transport=polling", "/api/v1/jobs"):
            refused = [network.ask("GET", path, token="wrong") for _ in range(FAILURES_PER_MINUTE)]
            assert {answer.headers.get("WWW-Authenticate") for answer in refused if answer.status_code == 401} <= {
                "Bearer"
            }
            too_many = network.ask("GET", path, token="wrong")
            assert too_many.status_code == 429
            assert 0 < int(too_many.headers["Retry-After"]) <= 60

    def test_each_request_is_looked_up_once(self, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        token, asked = network.token(Role.VIEWER), list[str]()
        holder = Tokens.holder

        def counting(tokens: Tokens, secret: str) -> Identity:
            asked.append(secret)
            return holder(tokens, secret)

        monkeypatch.setattr(Tokens, "holder", counting)
        path = "/socket.io/?EIO=4&transport=polling"
        opened = network.ask("GET", path, token=token)
        path += f"&sid={json.loads(opened.text.removeprefix('0'))['sid']}"
        assert network.ask("POST", path, token=token, data="40").status_code == 200
        assert network.ask("GET", path, token=token).text.startswith("40"), "it is connected"
        assert asked == [token] * 3

    def test_every_event_asks(self, network: Network) -> None:
        handlers = set(cast(Any, network.sockets).server.handlers["/"]) - {"disconnect"}
        assert handlers == set(EVENTS)
        client = network.sockets.test_client(
            network.app, headers={"Authorization": f"Bearer {network.token(Role.VIEWER)}"}
        )
        assert client.emit("watch_queue", {}, callback=True) == {"ok": True}
        network.tokens.revoke(1)
        for event in handlers - {"connect"}:
            assert "log in again" in client.emit(event, {"job": 1}, callback=True)["error"], event

    @pytest.mark.parametrize("how", ["revoked", "logged out"])
    def test_whoever_may_no_longer_is_cut_off(self, network: Network, how: str) -> None:
        browser = network.browser(Role.VIEWER)
        stays = network.sockets.test_client(
            network.app, headers={"Authorization": f"Bearer {network.token(Role.ADMIN)}"}
        )
        goes = network.sockets.test_client(network.app, flask_test_client=browser, headers={"Host": "192.0.2.7"})
        assert goes.is_connected()
        assert goes.emit("watch_queue", {}, callback=True) == {"ok": True}
        network.core.access.look()
        assert goes.is_connected(), "nothing has ended"
        if how == "revoked":
            network.tokens.revoke(1)
        else:
            assert network.log_out(browser, csrf=network.csrf(browser)).status_code == 200
        network.core.access.look()
        assert not goes.is_connected()
        assert stays.is_connected()
        assert not network.core.relay.hears("queue")


class TestOnThisMachine:
    def test_the_user_just_works(self, client: FlaskClient) -> None:
        assert client.get("/api/v1/session").json == {"role": "admin", "name": "this machine", "refused": {}}
        assert client.post("/api/v1/datasets", json={"name": "drums"}).status_code == 201
        assert client.get("/login?next=/jobs/1").location == "/jobs/1"

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
    def test_whom_a_proxy_brings_is_not_the_user(self, client: FlaskClient, header: str) -> None:
        for path in ("/api/v1/jobs", "/socket.io/?EIO=4&transport=polling"):
            assert client.get(path, headers={header: "for=192.0.2.9"}).status_code == 401
        assert client.get("/", headers={header: "for=192.0.2.9"}).status_code == 303

    @pytest.mark.parametrize(
        ("settings", "needs"),
        [
            ({}, False),
            ({"host": "localhost"}, False),
            ({"host": "::1"}, False),
            ({"login": "always"}, True),
            ({"host": "0.0.0.0"}, True),
            ({"host": "::"}, True),
            ({"host": "192.168.1.5"}, True),
            ({"allowed_hosts": "lab.example"}, True),
            ({"allowed_hosts": " , "}, False),
        ],
    )
    def test_when_a_login_is_needed(self, tmp_path: Path, settings: dict[str, Any], needs: bool) -> None:
        assert Settings(data=tmp_path, **settings).needs_login is needs

    def test_nothing_else_can_be_set(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="SPECTRAIN_LOGIN"):
            Settings(data=tmp_path, login=cast(Any, "never"))
