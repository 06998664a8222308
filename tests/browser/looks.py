"""What every page has to stand: a screen reader, and a phone in both themes."""

from __future__ import annotations

from collections.abc import Mapping

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor


def assert_accessible(visitor: Visitor) -> None:
    """No violation on the page that is open."""
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()


def assert_pages_fit_a_phone(browser: Browser, visitor: Visitor, url: str, pages: Mapping[str, str], name: str) -> None:
    """Each of `pages` (name: path below `url`) fits 375 px, is accessible and complains of nothing, light and dark.

    Pictures are called `name`, theme and page, and lie with those of `visitor`.
    """
    for theme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 375, "height": 740}, color_scheme=theme)
        phone = Visitor(context.new_page(), visitor.pictures)
        phone.listen()
        for page, path in pages.items():
            phone.page.goto(url + path)
            expect(phone.page.get_by_role("heading", level=1)).to_be_visible()
            phone.page.wait_for_load_state("networkidle")
            phone.picture(f"{name}-{theme}-{page}")
            sideways = phone.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
            assert sideways <= 0, f"{page} scrolls sideways by {sideways} px"
            phone.page.set_viewport_size({"width": 320, "height": 740})
            sideways = phone.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
            assert sideways <= 0, f"{page} scrolls sideways by {sideways} px on the smallest phones"
            phone.page.set_viewport_size({"width": 375, "height": 740})
            assert_accessible(phone)
        assert phone.complaints == [], phone.complaints
        context.close()
