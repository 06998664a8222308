"""Logging in and out on the page: the session, its cookie, what ends it."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import update

from api.access.roles import Role
from api.record.tables import BrowserSession, Token
from tests.unit.api.network import Network


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


def test_a_machines_token_opens_no_page(network: Network) -> None:
    answer = network.log_in(network.token(Role.WORKER), network.app.test_client())
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (403, None)
    assert "for a machine" in answer.text
