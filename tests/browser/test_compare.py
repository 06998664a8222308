"""Several trainings side by side, in a real browser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from redis import Redis

from shared.redis_client import connect
from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.browser.told import Told
from tests.sounds import write_sounds
from tests.system import System

EPOCHS = (5, 10)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("compare") / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("drums", write_sounds(tmp_path_factory.mktemp("sounds"), 12))
        yield system


@pytest.fixture(scope="module")
def trainings(system: System, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """Three trainings with other latent sizes, curves and previews; the louder, the larger."""
    sounds = write_sounds(tmp_path_factory.mktemp("previews"), 2, duration_s=8.0)
    with connect(redis_url) as redis:
        told = {}
        for index, latent in enumerate((16, 32, 64)):
            told[f"latent {latent}"] = one = told_training(system, redis, latent)
            one.steps(1, 20_000, loss=lambda step, height=index: 1 + height + math.exp(-step / 4000))
            one.epochs(1, 20, error=lambda epoch, height=index: 1 + height + 1 / epoch)
            for epoch in EPOCHS:
                one.preview(epoch, sounds[index % 2], original=sounds[0])
        yield told


def told_training(system: System, redis: Redis, latent: int) -> Told:
    return Told(system, redis, name=f"latent {latent}", dataset="drums", latent_dim=latent)


def chosen(page: Page, told: Told) -> Locator:
    return page.locator(f".chosen-job[data-job='{told.id}']")


def colour(page: Page, told: Told) -> str:
    return str(chosen(page, told).locator(".swatch").evaluate("(swatch) => getComputedStyle(swatch).backgroundColor"))


def test_36_compare_shows_differences_colours_stay(
    system: System, trainings: dict[str, Told], browser: Browser, visitor: Visitor
) -> None:
    small, medium, large = trainings.values()
    page = visitor.page
    page.goto(system.url)
    for told in (small, medium):
        page.locator(f"[data-job='{told.id}']").get_by_role("checkbox").check()
    page.get_by_role("link", name="Compare the selected jobs").click()
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()

    # Only what differs.
    differing = page.locator("[data-difference]")
    expect(differing).to_have_count(1)
    expect(differing).to_contain_text("Latent dimensions")
    expect(differing).to_contain_text("16")
    expect(differing).to_contain_text("32")

    # A job keeps its colour while others come and go, and over a reload of the address.
    kept = colour(page, medium)
    assert kept != colour(page, small)
    page.get_by_label("Add a training").select_option(str(large.id))
    expect(chosen(page, large)).to_be_visible()
    assert len({colour(page, told) for told in trainings.values()}) == 3
    page.get_by_role("button", name="Take latent 16 out").click()
    expect(chosen(page, small)).to_be_hidden()
    assert colour(page, medium) == kept
    page.reload()
    expect(chosen(page, medium)).to_be_visible()
    assert colour(page, medium) == kept
    page.get_by_label("Add a training").select_option(str(small.id))
    expect(page.locator("[data-chart=loss] .readout > span")).to_have_count(3)
    expect(page.locator("[data-chart=loss] .readout")).to_contain_text(f"#{large.id} 3.01")
    expect(page.locator("[data-chart=loss] .readout")).not_to_contain_text("–")
    expect(page.locator("[data-difference] td")).to_have_count(3)

    # Previews by epoch and job, each to be played.
    expect(page.locator(".preview-grid tbody tr")).to_have_count(len(EPOCHS))
    expect(page.locator(".preview-grid tbody [data-epoch='10'] audio")).to_have_count(3)
    page.get_by_role("button", name=re.compile("Play kick, latent 32, epoch 10")).click()
    page.wait_for_function("() => [...document.querySelectorAll('audio')].some((one) => one.currentTime > 0.05)")

    hear_blindly(page)
    visitor.picture("compare-1")
    assert_accessible(visitor)
    assert visitor.complaints == []
    pages = {"three": f"/compare?jobs={small.id},{medium.id},{large.id}", "none": "/compare"}
    assert_pages_fit_a_phone(browser, visitor, system.url, pages, "compare")


def hear_blindly(page: Page) -> None:
    """By keyboard: two sounds at one position, hidden until asked; what else plays stops."""
    page.get_by_role("button", name="Start blind test").focus()
    page.keyboard.press("Enter")
    second = page.get_by_role("button", name="Sound 2")
    expect(second).to_be_enabled()
    blind = page.locator(".blind")
    expect(blind).not_to_contain_text("latent")
    page.get_by_role("button", name="Play the blind test").focus()
    page.keyboard.press("Enter")
    position = page.get_by_label("Position in the blind test")
    page.wait_for_function("(slider) => Number(slider.value) > 0.05", arg=position.element_handle())
    assert page.evaluate("() => [...document.querySelectorAll('audio')].every((one) => one.paused)")
    before = float(position.input_value())
    second.focus()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")
    assert float(position.input_value()) >= before, "the other sound goes on where the first one was"
    expect(blind).not_to_contain_text("latent")
    page.get_by_role("button", name="Tell me which is which").click()
    expect(blind.get_by_role("status")).to_contain_text(re.compile(r"Sound 1 is latent \d+ \(#\d+\), epoch 10"))


def test_compare_says_what_to_do_when_there_is_nothing_to_compare(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/compare")
    expect(page.get_by_text("Nothing to compare yet")).to_be_visible()
    page.goto(f"{system.url}/compare?jobs=9999,9998")
    expect(page.get_by_text("There is no job 9999", exact=False)).to_be_visible()
    page.get_by_role("button", name="Take Job 9999 out").click()
    expect(page.get_by_text("There is no job 9999", exact=False)).to_be_hidden()
