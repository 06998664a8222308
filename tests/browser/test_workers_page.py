"""The machines, on the real page: drained and resumed, labelled, forgotten; one more machine invited."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.system import System

SILENT_MS = 40_000
"""Until a worker that fell silent counts as offline."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("workers") / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        yield system


def test_a_worker_is_drained_labelled_and_resumed(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    card = page.locator("[data-worker=studio]")
    expect(card).to_contain_text("Idle")
    expect(card).to_contain_text("Memory")
    card.get_by_role("button", name="Drain").click()
    expect(card.get_by_text("Drained")).to_be_visible()
    visitor.picture("workers-1-drained")
    assert_accessible(visitor)
    card.get_by_label("Labels of studio").fill("big-gpu")
    page.keyboard.press("Enter")
    expect(card.get_by_role("button", name="Take big-gpu off")).to_be_visible()
    card.get_by_role("button", name="Resume").click()
    expect(card.get_by_text("Drained")).to_have_count(0)
    page.reload()
    expect(card.get_by_role("button", name="Take big-gpu off")).to_be_visible()
    assert system.get("/workers")["workers"][0]["labels"] == ["big-gpu"]
    assert visitor.complaints == []


def test_a_machine_is_invited_by_one_line(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    page.get_by_role("textbox", name="Name").fill("studio-pc")
    page.get_by_label("Token expires").select_option(label="In a week")
    page.get_by_role("button", name="Make the token").click()
    command = page.get_by_label("Command for the other machine")
    expect(command).to_contain_text("/join")
    visitor.picture("workers-2-command")
    assert_accessible(visitor)
    token = page.get_by_role("listitem").filter(has_text="studio-pc")
    expect(token).to_contain_text(re.compile("never used · until"))
    page.reload()
    expect(token).to_be_visible()
    expect(command).to_have_count(0)
    token.get_by_role("button", name="Revoke").click()
    expect(token).to_contain_text("Revoked")
    assert [each["revoked_at"] is None for each in system.get("/tokens")["tokens"]] == [False]
    assert visitor.complaints == []


def test_a_machine_that_is_gone_is_shown_and_forgotten(system: System, visitor: Visitor) -> None:
    system.start_worker("attic")
    page = visitor.page
    page.goto(f"{system.url}/workers")
    card = page.locator("[data-worker=attic]")
    expect(card).to_contain_text("Idle")
    system.kill("attic")
    expect(card).to_contain_text("Offline", timeout=SILENT_MS)
    visitor.picture("workers-3-offline")
    assert_accessible(visitor)
    card.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)
    assert visitor.complaints == []


def test_it_fits_a_phone_in_both_themes(system: System, browser: Browser, visitor: Visitor) -> None:
    assert_pages_fit_a_phone(browser, visitor, system.url, {"workers": "/workers"}, "workers-phone")
