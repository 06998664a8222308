"""Deleting on the real page: what goes is shown before it goes, what is in use says by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible
from tests.sounds import write_sounds
from tests.system import SMALL, System

QUICK: dict[str, Any] = {**SMALL, "expansion": 2}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """With a finished training."""
    folder = tmp_path_factory.mktemp("deletion")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        system.wait_job(system.train("kicks", **QUICK, epochs=2), "completed")
        yield system


def test_18_deleting_a_dataset_in_use_is_refused_with_links(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/datasets/1")
    page.get_by_role("button", name="Delete …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("stays because one job uses it (1)")
    expect(dialog.get_by_role("button", name="Delete for good")).to_have_count(0)
    visitor.picture("deletion-1-dataset-in-use")
    assert_accessible(visitor)
    dialog.get_by_role("link", name="kicks mel").click()
    expect(page).to_have_url(f"{system.url}/jobs/1")
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("On disk")).to_be_visible()
    assert visitor.complaints == [], visitor.complaints


def test_a_job_then_its_dataset_are_deleted(system: System, visitor: Visitor, browser: Browser) -> None:
    size_bytes = system.get("/jobs/1/deletion")["size_bytes"]
    other = browser.new_page()
    other.goto(system.url)
    expect(other.locator("[data-job='1']")).to_be_visible()
    page = visitor.page
    page.goto(f"{system.url}/jobs/1")
    page.get_by_role("button", name="More for kicks mel").focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="Delete …").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This deletes 2 checkpoints")
    expect(dialog).to_contain_text("cannot be undone")
    visitor.picture("deletion-2-job")
    assert_accessible(visitor)
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_have_count(0)
    assert system.get("/jobs/1/deletion")["size_bytes"] == size_bytes

    page.get_by_role("button", name="More for kicks mel").click()
    page.get_by_role("menuitem", name="Delete …").click()
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page).to_have_url(f"{system.url}/")
    expect(page.get_by_text("kicks mel is deleted")).to_be_visible()
    expect(page.locator("[data-job='1']")).to_have_count(0)
    expect(other.locator("[data-job='1']")).to_have_count(0)
    other.close()
    assert not (system.data / "store" / "jobs" / "1").exists()

    page.goto(f"{system.url}/datasets/1")
    page.get_by_role("button", name="Delete …").click()
    expect(dialog).to_contain_text("This deletes 6 clips and the dataset itself.")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page).to_have_url(f"{system.url}/datasets")
    expect(page.get_by_text("No sounds yet")).to_be_visible()
    expect(page.locator("[data-disk]")).to_contain_text("On disk: trainings")
    visitor.picture("deletion-3-gone")
    assert_accessible(visitor)
    assert visitor.complaints == [], visitor.complaints
