"""Going on from a finished training, on the real page: a new one from its checkpoint, and the same one for longer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.sounds import write_sounds
from tests.system import SMALL, System

QUICK: dict[str, Any] = {**SMALL, "expansion": 2}
EPOCHS = 4
TRAINING_MS = 120_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """With a finished training on one of two datasets."""
    folder = tmp_path_factory.mktemp("lineage")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        system.add_dataset("voices", write_sounds(folder / "voices", 6, first_seed=50))
        system.wait_job(system.train("kicks", **QUICK, epochs=EPOCHS), "completed")
        yield system


def test_a_training_starts_from_a_checkpoint_of_another(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/jobs/1?tab=checkpoints")
    expect(page.get_by_role("link", name="Train from this").first).to_be_visible(timeout=TRAINING_MS)
    visitor.picture("lineage-1-checkpoints")
    assert_accessible(visitor)
    best = page.locator("[data-checkpoint]").filter(has_text="Best").first
    name = best.get_attribute("data-checkpoint")
    best.get_by_role("link", name="Train from this").click()

    start = page.get_by_role("region", name="Start")
    expect(start).to_contain_text(f"Starts from job 1 (kicks mel), checkpoint {name}, epoch")
    expect(page.get_by_label("Dataset")).to_have_value("1")
    expect(page.get_by_role("group", name="Representation")).to_have_count(0)
    page.get_by_label("Dataset").select_option(label="voices (6 clips)")
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_text("Advanced").first.click()
    expect(page.locator("#field-pitches")).to_have_value("")
    expect(page.locator("#field-latent_dim")).to_have_count(0)
    visitor.picture("lineage-2-new-job")
    assert_accessible(visitor)

    # What the weights cannot take is said beside the start, and nothing is sent.
    page.locator("#field-objective").select_option("beta")
    expect(start.get_by_role("alert")).to_contain_text("decoder output (objective) linear")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Start from new weights")).to_be_focused()
    visitor.picture("lineage-3-refused")
    assert_accessible(visitor)
    page.locator("#field-objective").select_option("sigma")
    expect(start.get_by_role("alert")).to_have_count(0)

    page.get_by_role("button", name="Start training").click()
    page.get_by_role("link", name="voices mel").first.click()
    expect(page.get_by_text("Started from job 1 (kicks mel)")).to_be_visible()
    expect(page.locator("[data-state=completed]").first).to_be_visible(timeout=TRAINING_MS)
    expect(page.get_by_text(re.compile(r"Best at epoch \d"))).to_be_visible()
    visitor.picture("lineage-4-started")
    assert_accessible(visitor)
    page.get_by_role("link", name="job 1 (kicks mel)").click()
    expect(page.get_by_text("Start of job 2 (voices mel)")).to_be_visible()
    # The address that the button is refused by is the only complaint: the browser notes every refused request.
    assert [complaint for complaint in visitor.complaints if "422" not in complaint] == []


def test_the_start_can_be_taken_off(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/new?start=1&dataset=1")
    start = page.get_by_role("region", name="Start")
    expect(start).to_contain_text(re.compile(r"checkpoint \d+-\d+, epoch \d"))
    page.reload()
    expect(start).to_contain_text("Starts from job 1")
    page.get_by_role("button", name="Start from new weights").click()
    expect(start).to_have_count(0)
    expect(page.get_by_role("group", name="Representation")).to_be_visible()
    page.goto(f"{system.url}/new?start=99&dataset=1")
    expect(start.get_by_role("alert")).to_have_text("There is no job 99 to start from.")


def test_a_finished_run_is_extended(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/jobs/1")
    page.get_by_role("button", name="Extend …").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Extend kicks mel")).to_be_visible()
    expect(dialog.get_by_label("Epochs in all")).to_have_value("6")
    expect(dialog.get_by_text("It learns 2 more epochs.")).to_be_visible()
    visitor.picture("lineage-5-extend")
    assert_accessible(visitor)
    dialog.get_by_label("Epochs in all").fill("3")
    expect(dialog.get_by_role("alert")).to_contain_text("has done 4 epochs already")
    expect(dialog.get_by_role("button", name="Extend training")).to_be_disabled()
    visitor.picture("lineage-6-too-few")
    dialog.get_by_label("Epochs in all").fill("5")
    expect(dialog.get_by_text("It learns 1 more epoch.")).to_be_visible()
    dialog.get_by_role("button", name="Extend training").click()
    job = system.wait_job(1, lambda job: job["state"] == "completed" and job["attempt"] == 2)
    assert job["progress"]["epoch"] == 5
    expect(page.locator("[data-state=completed]").first).to_be_visible()
    expect(page.get_by_text("Epoch 5 of 5")).to_be_visible()


def test_it_fits_a_phone_in_both_themes(system: System, browser: Browser, visitor: Visitor) -> None:
    pages = {"checkpoints": "/jobs/1?tab=checkpoints", "new-job": "/new?start=1&dataset=2", "job": "/jobs/1"}
    assert_pages_fit_a_phone(browser, visitor, system.url, pages, "lineage-phone")
