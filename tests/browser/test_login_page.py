"""Logging in and out on the real page, of a server that others reach."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from api.access.first import first_admin
from shared.settings import Settings
from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.system import System

EVERYWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """Where the server keeps everything, and what the first start prints."""
    settings = Settings(data=tmp_path_factory.mktemp("login") / "data", host=EVERYWHERE)
    return settings, first_admin(settings)


@pytest.fixture(scope="module")
def system(admin: tuple[Settings, str], redis_url: str) -> Iterator[System]:
    settings, token = admin
    with System(settings.data, redis_url, host=EVERYWHERE) as system:
        system.show(token)
        system.start_api()
        yield system


def made(system: System, role: str) -> tuple[int, str]:
    token = system.post("/tokens", {"role": role, "name": f"a {role}"})
    return int(token["id"]), str(token["secret"])


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def assert_nothing_but_refusals(visitor: Visitor) -> None:
    """A browser tells of every answer that refuses somebody, as when a login has just ended."""
    assert [told for told in visitor.complaints if "401" not in told] == []


def test_a_stranger_logs_in_and_gets_where_they_wanted(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    expect(page).to_have_url(f"{system.url}/login?next=/workers")
    assert_accessible(visitor)
    visitor.picture("login-1")
    log_in(page, "spt_wrong")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    expect(page.get_by_label("Token")).to_have_value("")
    assert_accessible(visitor)
    visitor.picture("login-2-refused")
    log_in(page, made(system, "viewer")[1])
    expect(page).to_have_url(f"{system.url}/workers")
    expect(page.get_by_text("Live")).to_be_visible()
    expect(page.get_by_role("heading", name="No worker is here")).to_be_visible()
    expect(page.get_by_role("heading", name="Add a machine")).to_have_count(0)
    expect(page.get_by_text("takes the role admin, and you are logged in as viewer")).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text("a viewer viewer")
    expect(page.get_by_role("link", name="New job")).to_have_count(0)
    page.goto(system.url)
    expect(page.get_by_role("heading", name="The queue is empty")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    page.goto(f"{system.url}/new")
    expect(page.get_by_text("Starting a job takes the role member")).to_be_visible()
    assert_accessible(visitor)
    assert page.evaluate("document.cookie") == "", "no script reads it"
    assert_nothing_but_refusals(visitor)


def test_an_administrator_makes_a_token_for_somebody_and_logs_out(
    system: System, admin: tuple[Settings, str], visitor: Visitor
) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    log_in(page, admin[1])
    page.get_by_label("For", exact=True).select_option(label="A person who works")
    page.get_by_role("textbox", name="Name").fill("ann")
    page.get_by_role("button", name="Make the token").click()
    secret = page.get_by_label("Token", exact=True)
    expect(secret).to_contain_text("spt_")
    token = secret.inner_text().strip()
    expect(page.get_by_role("listitem").filter(has_text="ann")).to_contain_text(re.compile("member · .*never used"))
    assert_accessible(visitor)
    visitor.picture("login-3-token")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile(r"/login(\?next=%2Fworkers)?$"))
    page.goto(f"{system.url}/workers")
    log_in(page, token)
    expect(page.get_by_role("heading", name="No worker is here")).to_be_visible()
    assert_nothing_but_refusals(visitor)


def test_a_page_whose_token_is_revoked_shows_the_login_page(system: System, visitor: Visitor) -> None:
    token_id, secret = made(system, "member")
    page = visitor.page
    page.goto(f"{system.url}/workers")
    log_in(page, secret)
    expect(page.get_by_text("Live")).to_be_visible()
    system.post(f"/tokens/{token_id}/revoke")
    expect(page).to_have_url(f"{system.url}/login?next=%2Fworkers")


def test_it_fits_a_phone_in_both_themes(system: System, browser: Browser, visitor: Visitor) -> None:
    assert_pages_fit_a_phone(browser, visitor, system.url, {"login": "/login"}, "login-phone")
    secret = made(system, "admin")[1]
    for theme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 375, "height": 740}, color_scheme=theme)
        phone = Visitor(context.new_page(), visitor.pictures)
        phone.listen()
        phone.page.goto(f"{system.url}/workers")
        log_in(phone.page, secret)
        expect(phone.page.get_by_role("button", name="Log out")).to_be_visible()
        expect(phone.page.get_by_role("heading", name="Tokens")).to_be_visible()
        phone.picture(f"login-phone-{theme}-inside")
        sideways = phone.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert sideways <= 0, f"it scrolls sideways by {sideways} px"
        assert_accessible(phone)
        assert phone.complaints == []
        context.close()
