"""Who may: every route and every socket event without a token and with every role; logging in and out; how often."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Final, cast

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from sqlalchemy import update
from structlog.contextvars import get_contextvars
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from api.access.door import FAILURES_PER_MINUTE, address_of
from api.access.limits import Limit
from api.access.roles import Identity, Role
from api.access.tokens import Tokens
from api.app import create_app
from api.record.tables import BrowserSession, Token
from api.routes.access import EVENTS, ROUTES, check_table
from shared.errors import ConfigError, TooManyError
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


def test_a_stranger_is_led_to_the_login_page_and_back(network: Network) -> None:
    stranger = network.app.test_client()
    led = network.ask("GET", "/jobs/7?tab=log", client=stranger)
    assert (led.status_code, led.location) == (303, "/login?next=/jobs/7%3Ftab%3Dlog")
    page = network.ask("GET", led.location, client=stranger)
    assert page.status_code == 200
    assert 'value="/jobs/7?tab=log"' in page.text
    assert (
        network.ask("GET", "/datasets/my drüms", client=stranger).location
        == "/login?next=/datasets/my%2520dr%25C3%25BCms"
    )
    assert '<link rel="stylesheet" href="/assets/a.css">' in page.text
    assert page.headers["Referrer-Policy"] == "same-origin", "else a browser says Origin: null of its form"
    answer = network.log_in(network.token(Role.VIEWER), stranger, next="/jobs/7?tab=log")
    assert (answer.status_code, answer.location) == (303, "/jobs/7?tab=log")
    assert network.ask("GET", "/jobs/7", client=stranger).status_code == 200
    told = network.ask("GET", "/api/v1/session", client=stranger).json
    assert (told["role"], told["name"]) == ("viewer", "a viewer")


@pytest.mark.parametrize(
    "place", ["//evil.example", "/\\evil.example", "https://evil.example", "jobs", "/\r\nX: y", ""]
)
def test_a_login_leads_nowhere_else(network: Network, place: str) -> None:
    assert network.log_in(network.token(Role.VIEWER), network.app.test_client(), next=place).location == "/"


def test_a_session_lives_in_a_cookie_that_no_script_reads(network: Network) -> None:
    secret = network.token(Role.MEMBER)
    answer = network.log_in(secret, network.app.test_client())
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("spectrain_8000=sps_")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert secret not in cookie
    assert "Secure" not in cookie
    behind_tls = {"Host": "lab.example", "Origin": "https://lab.example"}
    client = network.app.test_client()
    answer = client.post("/login", data={"token": secret}, headers=behind_tls)
    assert answer.status_code == 403, "a name that nobody allowed"
    answer = client.post(
        "/login", data={"token": secret}, base_url="https://192.0.2.7", headers={"Origin": "https://192.0.2.7"}
    )
    assert answer.headers["Set-Cookie"].startswith("__Host-spectrain_8000=sps_")
    assert "Secure" in answer.headers["Set-Cookie"].split("; ")
    assert client.get("/api/v1/session", base_url="https://192.0.2.7").status_code == 200


def test_the_record_knows_hashes_alone(network: Network) -> None:
    secret = network.token(Role.ADMIN)
    client = network.app.test_client()
    network.log_in(secret, client)
    cookie = client.get_cookie("spectrain_8000", domain="192.0.2.7")
    assert cookie is not None
    with network.core.database.reading() as session:
        kept = str([row.__dict__ for table in (Token, BrowserSession) for row in session.query(table)])
    assert secret not in kept
    assert cookie.value not in kept


def test_only_a_page_of_the_session_changes_something(network: Network) -> None:
    browser, other = network.browser(), network.browser()

    def create(name: str, **headers: str) -> int:
        return network.ask("POST", "/api/v1/datasets", json={"name": name}, client=browser, headers=headers).status_code

    assert create("a") == create("b", **{"X-CSRF-Token": "x"}) == 403
    assert create("c", **{"X-CSRF-Token": network.csrf(other)}) == 403
    assert create("d", **{"X-CSRF-Token": network.csrf(browser)}) == 201
    assert create("e", **{"X-CSRF-Token": network.csrf(browser), "Origin": "http://192.0.2.7:9"}) == 403
    assert [each["name"] for each in network.ask("GET", "/api/v1/datasets", client=browser).json["datasets"]] == ["d"]
    assert (
        network.ask("POST", "/api/v1/datasets", json={"name": "f"}, token=network.token(Role.MEMBER)).status_code == 201
    )
    assert network.ask("GET", "/", client=browser).headers["Cache-Control"] == "no-store"


def test_a_logout_ends_the_session_for_whoever_has_its_cookie(network: Network) -> None:
    browser = network.browser()
    cookie = browser.get_cookie("spectrain_8000", domain="192.0.2.7")
    assert cookie is not None
    assert network.log_out(browser, csrf="").status_code == 403, "another page must not log people out"
    assert network.log_out(browser, csrf=network.csrf(browser)).headers["Clear-Site-Data"] == '"cache"'
    assert browser.get_cookie("spectrain_8000", domain="192.0.2.7") is None
    browser.set_cookie("spectrain_8000", cookie.value, domain="192.0.2.7")
    assert network.ask("GET", "/api/v1/jobs", client=browser).status_code == 401


def test_a_new_login_ends_the_one_before(network: Network) -> None:
    browser = network.browser()
    before = browser.get_cookie("spectrain_8000", domain="192.0.2.7")
    assert before is not None
    network.log_in(network.token(Role.VIEWER), browser)
    assert network.ask("GET", "/api/v1/session", client=browser).json["role"] == "viewer"
    browser.set_cookie("spectrain_8000", before.value, domain="192.0.2.7")
    assert network.ask("GET", "/api/v1/session", client=browser).status_code == 401


@pytest.mark.parametrize("how", ["token revoked", "token expired", "session expired"])
def test_what_ends_a_login(network: Network, how: str) -> None:
    browser, watcher = network.browser(), network.app.test_client()
    secret = network.token(Role.VIEWER)
    network.log_in(secret, watcher)
    assert network.ask("GET", "/api/v1/jobs", client=watcher).status_code == 200
    if how == "token revoked":
        revoked = network.ask("POST", "/api/v1/tokens/2/revoke", token=network.token(Role.ADMIN))
        assert revoked.status_code == 200
    else:
        table, column = (Token, Token.id) if how == "token expired" else (BrowserSession, BrowserSession.token_id)
        with network.core.database.session() as session:
            session.execute(update(table).where(column == 2).values(expires_at=time.time() - 1))
    assert network.ask("GET", "/api/v1/jobs", client=watcher).status_code == 401
    assert network.ask("GET", "/", client=watcher).status_code == 303
    assert network.ask("GET", "/api/v1/jobs", token=secret).status_code == (200 if how == "session expired" else 401)
    assert network.ask("GET", "/api/v1/jobs", client=browser).status_code == 200, "of another token"


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


def test_a_machines_token_opens_no_page(network: Network) -> None:
    answer = network.log_in(network.token(Role.WORKER), network.app.test_client())
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (403, None)
    assert "for a machine" in answer.text


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


class TestHowOften:
    def test_wrong_tokens_are_tried_ten_times_a_minute(self, network: Network) -> None:
        good = network.token(Role.VIEWER)
        client = network.app.test_client()
        for _ in range(FAILURES_PER_MINUTE):
            assert network.log_in("spt_guess", client).status_code == 401
        refused = network.log_in(good, client)
        assert refused.status_code == 429, "also the right one, until the minute is over"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert "wait" in refused.text
        answer = network.ask("GET", "/api/v1/jobs", token="spt_guess")
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True)
        assert network.ask("GET", "/api/v1/jobs", token=good).status_code == 200, "a machine at work is not kept out"
        assert network.ask("GET", "/readyz", token="spt_guess").status_code == 200
        elsewhere = network.app.test_client()
        elsewhere.environ_base["REMOTE_ADDR"] = "192.0.2.99"
        assert network.log_in(good, elsewhere).status_code == 303

    def test_no_answer_repeats_a_secret(self, network: Network) -> None:
        client = network.app.test_client()
        assert "spt_guess" not in network.log_in("spt_guess", client).text
        assert "spt_guess" not in network.ask("GET", "/api/v1/jobs", token="spt_guess").text

    @pytest.mark.usefixtures("record_url")
    def test_submissions_and_uploads_are_counted_by_token(self, network: Network) -> None:
        one, other = network.token(Role.MEMBER), network.token(Role.MEMBER)

        def submit(token: str) -> TestResponse:
            return network.ask("POST", "/api/v1/jobs", token=token, json={"kind": "train", "dataset": "none"})

        assert [submit(one).status_code for _ in range(4)] == [404, 404, 404, 429]
        refused = submit(one)
        assert refused.json["error"].startswith("Too many jobs are submitted: wait ")
        assert int(refused.headers["Retry-After"]) >= 1
        assert submit(other).status_code == 404
        assert network.ask("POST", "/api/v1/jobs/1/cancel", token=one).status_code == 404

    def test_what_is_left_comes_back(self) -> None:
        now = [0.0]
        limit = Limit("Too many", 2, now=lambda: now[0])
        limit.take("a")
        limit.take("a")
        with pytest.raises(TooManyError) as refused:
            limit.take("a")
        assert refused.value.retry_after_s == 30
        limit.take("b")
        now[0] = 30.0
        limit.take("a")
        with pytest.raises(TooManyError):
            limit.check("a")

    @pytest.mark.parametrize(
        ("environ", "counted"),
        [
            ({"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}, "192.0.2.1"),
            ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1, 192.0.2.9"}, "192.0.2.9"),
            ({"REMOTE_ADDR": "127.0.0.1"}, "127.0.0.1"),
            ({"REMOTE_ADDR": "2001:db8::1"}, "2001:db8::/64"),
            ({"REMOTE_ADDR": "2001:db8::ffff:1"}, "2001:db8::/64"),
            ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "nonsense"}, "unknown"),
        ],
    )
    def test_who_is_counted(self, environ: dict[str, str], counted: str) -> None:
        assert address_of(environ) == counted


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
