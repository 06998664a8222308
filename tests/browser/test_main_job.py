"""The main job as a musician does it, on the real page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.sounds import write_sounds
from tests.system import System

SOUNDS = 12
STARTING_MS = 60_000
"""The first training of a machine also times how it computes best."""
TRAINING_MS = 120_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("page") / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        yield system


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    """A folder of sounds, and something that is none."""
    text = tmp_path / "sounds" / "notes.wav"
    # They last: a page that is looked at a second later shows where they are all the same.
    paths = write_sounds(text.parent, SOUNDS, duration_s=3.0)
    text.write_text("not a sound", encoding="utf-8")
    return [*paths, text]


def test_from_a_folder_of_sounds_to_a_checkpoint(system: System, visitor: Visitor, sounds: list[Path]) -> None:
    open_an_empty_queue(system, visitor)
    drop_sounds(visitor, sounds)
    press_train(visitor)
    watch_the_loss(visitor)
    hear_a_preview(visitor)
    save_now(visitor)
    saved = cancel(visitor)
    continue_training(system, visitor, saved)
    assert visitor.complaints == []


def open_an_empty_queue(system: System, visitor: Visitor) -> None:
    visitor.page.goto(system.url)
    expect(visitor.page.get_by_role("heading", name="Queue", exact=True)).to_be_visible()
    expect(visitor.page.get_by_role("link", name="New job").first).to_be_visible()
    visitor.picture("01-empty-queue")
    assert_accessible(visitor)


def drop_sounds(visitor: Visitor, sounds: list[Path]) -> None:
    """What is no sound is refused by name, the others go on."""
    page = visitor.page
    page.get_by_role("navigation").get_by_role("link", name="Datasets").click()
    page.get_by_label("Name").fill("studio drums")
    page.get_by_label("Choose files").set_input_files(sounds)
    page.get_by_role("button", name="Create dataset").click()
    expect(page.get_by_text(f"{SOUNDS} clips").first).to_be_visible(timeout=STARTING_MS)
    expect(page.get_by_text(re.compile("notes.wav is not an audio file")).first).to_be_visible()
    visitor.picture("02-dataset")
    assert_accessible(visitor)


def press_train(visitor: Visitor) -> None:
    """With shorter examples than people would take; it is in the queue without a reload."""
    page = visitor.page
    page.get_by_role("link", name="Train on this").click()
    page.get_by_label("Epochs", exact=True).fill("2000")
    page.get_by_text("Advanced").first.click()
    page.locator("#field-chunk_s").fill("0.3")
    page.locator("#field-preview_every").fill("2")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    visitor.picture("03-new-job")
    assert_accessible(visitor)
    page.evaluate("window.untouched = true")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("[data-job] [data-state]").first).to_be_visible()
    assert page.evaluate("window.untouched"), "nothing was loaded anew"


def watch_the_loss(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("link", name=re.compile("studio drums")).first.click()
    page.locator("[data-chart=loss]").wait_for(timeout=STARTING_MS)
    wait_for_points(page, 30)
    visitor.picture("04-charts")
    assert_accessible(visitor)


def hear_a_preview(visitor: Visitor) -> None:
    """Previews arrive with their epoch; one plays at a time, and never by itself."""
    page = visitor.page
    page.get_by_role("tab", name="Previews").click()
    page.locator("[data-preview]").first.wait_for(timeout=TRAINING_MS)
    expect(page.get_by_role("heading", name=re.compile(r"Epoch \d+, step [\d,]+")).first).to_be_visible()
    assert page.locator("[data-playing]").count() == 0
    page.get_by_role("button", name=re.compile("Play reconstruction")).first.click()
    position = page.get_by_role("slider", name=re.compile("^Position in")).first
    page.wait_for_function("(slider) => Number(slider.value) > 0.05", arg=position.element_handle())
    visitor.picture("05-previews")
    assert_accessible(visitor)


def save_now(visitor: Visitor) -> None:
    visitor.page.get_by_role("tab", name="Checkpoints").click()
    visitor.page.get_by_role("button", name="Save now").click()
    expect(visitor.page.get_by_text("asked for").first).to_be_visible()


def cancel(visitor: Visitor) -> int:
    """Cancel, and return the step that was saved."""
    page = visitor.page
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-state=cancelled]").first).to_be_visible()
    saved = page.get_by_text(re.compile(r"Saved step [\d,]+ in")).first
    expect(saved).to_be_visible()
    visitor.picture("06-cancelled")
    assert_accessible(visitor)
    return int(re.sub(r"\D", "", saved.inner_text().split(" in ")[0]))


def continue_training(system: System, visitor: Visitor, saved: int) -> None:
    """The summary waits; then the chart goes on where it was, with what came before still there."""
    page = visitor.page
    page.get_by_role("button", name="Resume", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"{saved:,} of")).to_be_visible()
    visitor.picture("07-resume")
    assert_accessible(visitor)
    dialog.get_by_role("button", name="Continue training").click()
    expect(page.locator("[data-state=running]").first).to_be_visible(timeout=STARTING_MS)
    page.get_by_role("tab", name="Charts").click()
    wait_for_points(page, saved + 5)
    visitor.picture("08-resumed")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-state=cancelled]").first).to_be_visible()
    job_id = int(page.url.split("/jobs/")[1].split("?")[0])
    steps = [step for event in system.events(job_id, "steps") for step in event["body"]["step"]]
    assert steps == list(range(1, len(steps) + 1)), "no step is lost or doubled"
    assert len(steps) > saved


def wait_for_points(page: Page, count: int) -> None:
    """Wait until the loss chart holds so many points."""
    page.wait_for_function(
        f"() => Number(document.querySelector('[data-chart=loss]')?.dataset.points) >= {count}", timeout=TRAINING_MS
    )


def test_a_model_with_frequencies_is_followed_to_its_end(system: System, visitor: Visitor, tmp_path: Path) -> None:
    system.add_dataset("tones", write_sounds(tmp_path / "tones", 6))
    changes = {"epochs": 4, "chunk_s": 0.3, "expansion": 4, "spectrogram": {"n_mels": 64}, "preview_every": 2}
    # Principal components would leave a training as short as this one nothing to improve.
    job_id = system.train("tones", representation="mel_if", first_weights="random", **changes)
    page = visitor.page
    page.goto(f"{system.url}/jobs/{job_id}")
    expect(page.get_by_text("Mel + frequency").first).to_be_visible()
    expect(page.locator("[data-state=completed]").first).to_be_visible(timeout=TRAINING_MS)
    steps = int(system.get(f"/jobs/{job_id}")["progress"]["total_steps"])
    wait_for_points(page, steps)
    losses = [loss for event in system.events(job_id, "steps") for loss in event["body"]["loss"]]
    assert losses[-1] < losses[0], "the loss falls"
    visitor.picture("09-mel-if")
    page.get_by_role("tab", name="Previews").click()
    expect(page.get_by_role("list").get_by_role("button", name=re.compile("^Epoch"))).to_have_count(2)
    page.get_by_role("tab", name="Checkpoints").click()
    expect(page.get_by_text("Best", exact=True).first).to_be_visible()
    assert_accessible(visitor)
    assert visitor.complaints == []


def test_the_page_fits_a_phone_in_both_themes(system: System, browser: Browser, visitor: Visitor) -> None:
    pages = {"queue": "/", "datasets": "/datasets", "new-job": "/new", "workers": "/workers", "job": "/jobs/1"}
    assert_pages_fit_a_phone(browser, visitor, system.url, pages, "phone")
