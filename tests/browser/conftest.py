"""A real browser on the real page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.sounds import write_sounds
from tests.system import System

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ANSWER_MS = 30_000
"""Until the page shows what is expected of it, on a busy machine, where a test sets no other limit."""


@dataclass
class Visitor:
    """A tab, what its console complained of, and where its screenshots go."""

    page: Page
    pictures: Path
    complaints: list[str] = field(default_factory=list[str])

    def picture(self, name: str) -> None:
        """Keep what the page looks like now, for people to review."""
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)

    def listen(self) -> None:
        """Remember every console error and every uncaught exception."""

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(error.stack or str(error)))


@pytest.fixture(scope="session")
def browser(chromium: Path) -> Iterator[Browser]:
    """One Chromium for all tests."""
    expect.set_options(timeout=ANSWER_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """An api alone, without any dataset at first."""
    with System(tmp_path_factory.mktemp("alone") / "data", redis_url) as system:
        system.start_api()
        yield system


@pytest.fixture(scope="module")
def drums(system: System, tmp_path_factory: pytest.TempPathFactory) -> System:
    """With a dataset."""
    system.add_dataset("drums", write_sounds(tmp_path_factory.mktemp("drums"), 12))
    return system


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile in a desktop window."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, tmp_path: Path) -> Visitor:
    """A tab whose screenshots go to SPECTRAIN_SCREENSHOTS, or else to the test's own folder."""
    pictures = Path(os.environ.get("SPECTRAIN_SCREENSHOTS", tmp_path / "pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    visitor = Visitor(context.new_page(), pictures)
    visitor.listen()
    return visitor
