"""A browser that was asked to tell of a job: by a notification of the system, of trouble and of the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Page, expect
from redis import Redis

from shared.events import Warned
from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible
from tests.browser.told import Told
from tests.sounds import write_sounds
from tests.system import System

_LISTENING = """
    globalThis.shown = [];
    globalThis.Notification = class extends Notification {
        constructor(title, options) {
            super(title, options);
            shown.push([title, options.body]);
            console.info(`shown: ${title}`);
        }
    };
"""
"""What a system does with a notification no test can see; the page's own one is made all the same."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """Nobody works."""
    folder = tmp_path_factory.mktemp("tell")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("kicks", write_sounds(folder / "kicks", 4))
        yield system


def open_job(visitor: Visitor, system: System, job_id: int) -> Page:
    page = visitor.page
    page.add_init_script(_LISTENING)
    page.goto(f"{system.url}/jobs/{job_id}")
    wait_live(page)
    return page


def wait_live(page: Page) -> None:
    """Wait until the page shows its job, and hears what happens to it from now on."""
    expect(page.get_by_label("State of the job")).to_be_visible()
    expect(page.locator(".dot")).to_have_attribute("data-connected", "true")


def shows(page: Page) -> AbstractContextManager[object]:
    """Wait at the end of the block until a notification is shown."""
    return page.expect_console_message(lambda message: message.text.startswith("shown: "))


def test_who_wants_to_be_told_is_told_once_of_trouble_and_of_the_end(
    system: System, owner: Redis, visitor: Visitor
) -> None:
    visitor.page.context.grant_permissions(["notifications"], origin=system.url)
    wanted = Told(system, owner, name="wanted", dataset="kicks")
    other = Told(system, owner, name="other", dataset="kicks")
    wanted.counts()
    page = open_job(visitor, system, wanted.id)
    assert_accessible(visitor)
    button = page.get_by_role("button", name="Tell me")
    button.click()
    expect(button).to_have_count(0)
    page.reload()
    wait_live(page)
    expect(button).to_have_count(0)

    with shows(page):
        wanted.tell([Warned(code="not_a_number", message="The loss was no number.")])
    with shows(page):
        system.post(f"/jobs/{other.id}/cancel")
        system.post(f"/jobs/{wanted.id}/cancel")
    trouble, end = page.evaluate("shown")
    assert trouble == ["wanted", "The loss was no number."]
    assert end[0] == "wanted"
    assert end[1].startswith("cancelled.")
    page.goto(f"{system.url}/jobs/{other.id}")
    expect(page.get_by_label("State of the job")).to_be_visible()
    expect(button).to_have_count(0)
    assert page.evaluate("shown") == [], "of what has ended nobody is told again"
    assert visitor.complaints == []


def test_who_does_not_allow_it_is_asked_again(system: System, owner: Redis, visitor: Visitor) -> None:
    job = Told(system, owner, name="unheard", dataset="kicks")
    visitor.page.add_init_script("Notification.requestPermission = async () => 'denied';")
    page = open_job(visitor, system, job.id)
    button = page.get_by_role("button", name="Tell me")
    button.click()
    expect(button).to_be_visible()
    system.post(f"/jobs/{job.id}/cancel")
    expect(button).to_have_count(0)
    assert page.evaluate("shown") == []
    assert visitor.complaints == []
