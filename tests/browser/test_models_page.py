"""What is kept, on the real page: a checkpoint is pinned and outlives its training's own; models of all trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from safetensors.numpy import load_file

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, System, event_of

QUICK: dict[str, Any] = {**SMALL, "expansion": 2}
TRAINING_MS = 120_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """With a training that goes on."""
    folder = tmp_path_factory.mktemp("models")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        yield system


def test_an_empty_list_explains_itself(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/models")
    expect(page.get_by_role("heading", name="No models yet")).to_be_visible()
    expect(page.get_by_role("link", name="Start a training")).to_have_attribute("href", "/new")
    visitor.picture("models-1-empty")
    assert_accessible(visitor)


def test_the_links_have_room_in_every_window(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/models")
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    expect(links).to_have_count(6)
    for width in (320, 375, 768, 900, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        boxes = [box for link in links.all() if (box := link.bounding_box())]
        assert {box["y"] for box in boxes} == {boxes[0]["y"]}, "they stand in one row"
        assert boxes[-1]["x"] + boxes[-1]["width"] <= width
        room = [after["x"] - box["x"] - box["width"] for box, after in pairwise(boxes)]
        assert min(room) >= (0 if width < 375 else 4), (width, room)
        brand, tools = (page.locator(one).bounding_box() for one in (".brand", ".bar-tools"))
        assert brand is not None
        assert tools is not None
        assert tools["y"] < brand["y"] + brand["height"], f"the tools are pushed down at {width} px"


def test_a_pinned_checkpoint_outlives_what_its_training_keeps(system: System, visitor: Visitor) -> None:
    system.start_worker("studio")
    job_id = system.train("kicks", **{**SMALL, "expansion": 1000}, epochs=LONG, checkpoint_every_s=3600.0)
    system.wait_event(job_id, event_of(1, "steps"))
    save(system, job_id)
    page = visitor.page
    page.goto(f"{system.url}/jobs/{job_id}?tab=checkpoints")
    row = page.locator("[data-checkpoint]").filter(has_text="asked for").last
    name = row.get_attribute("data-checkpoint", timeout=TRAINING_MS)
    assert name is not None
    row = page.locator(f"[data-checkpoint='{name}']")
    row.get_by_role("button", name="Pin").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_text("Pinned")).to_be_visible()

    for _ in range(5):
        save(system, job_id)
    folder = system.data / "store" / "jobs" / str(job_id)
    assert not (folder / "checkpoints" / name).exists(), "its trainer knows nothing of the pin, and removed its own"
    expect(row.get_by_text("Pinned")).to_be_visible()
    visitor.picture("models-2-checkpoints")
    assert_accessible(visitor)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")

    # The training goes on from the very step that was pinned, which only the pin has kept.
    step = int(name.split("-")[1])
    row.get_by_role("button", name="Resume from here").click()
    page.get_by_role("button", name="Continue training").click()
    told = system.wait_event(job_id, lambda event: "Goes on" in event["body"].get("message", ""))
    assert f"Goes on from checkpoint {name}: step {step} of" in told["body"]["message"]
    save(system, job_id)
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    assert [complaint for complaint in visitor.complaints if "422" not in complaint] == []


def test_models_are_found_downloaded_and_started_from(system: System, visitor: Visitor, tmp_path: Path) -> None:
    done = system.train("kicks", **QUICK, epochs=2)
    system.wait_job(done, "completed")
    page = visitor.page
    page.goto(system.url)
    page.get_by_role("link", name="Models").click()
    rows = page.locator("[data-model]")
    expect(rows.first.get_by_role("link", name="kicks mel")).to_be_visible()
    visitor.picture("models-3-list")
    assert_accessible(visitor)

    page.get_by_role("link", name="Pinned", exact=True).click()
    expect(rows).to_have_count(1)
    expect(rows.get_by_text("Pinned")).to_be_visible()
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Search models").fill("nobody")
    expect(page.get_by_role("heading", name="No model fits this filter")).to_be_visible()
    page.get_by_role("link", name="Show all models").click()
    page.get_by_role("link", name="Final", exact=True).click()
    expect(rows).to_have_count(1)

    with page.expect_download() as weights:
        rows.get_by_role("link", name="Weights").click()
    weights.value.save_as(tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors")
    with page.expect_download() as config:
        rows.get_by_role("link", name="Configuration").click()
    config.value.save_as(tmp_path / "config.json")
    told = json.loads((tmp_path / "config.json").read_text())
    assert (told["job"], told["epoch"], told["model"]["latent_dim"]) == (done, 2, 8)

    rows.get_by_role("link", name="Train from this").click()
    expect(page.get_by_role("region", name="Start")).to_contain_text(f"Starts from job {done}")
    assert visitor.complaints == [], visitor.complaints


def test_the_last_copy_goes_only_after_a_question(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/jobs/1?tab=checkpoints")
    pinned = page.locator("[data-checkpoint]").filter(has_text="Pinned")
    name = pinned.get_attribute("data-checkpoint")
    pinned.get_by_role("button", name="Unpin").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing but its pin keeps")
    visitor.picture("models-4-unpin")
    assert_accessible(visitor)
    dialog.get_by_role("button", name="Keep it").click()
    expect(pinned).to_have_count(1)
    pinned.get_by_role("button", name="Unpin").click()
    dialog.get_by_role("button", name="Unpin and delete").click()
    expect(page.locator(f"[data-checkpoint='{name}']")).to_have_count(0)
    assert system.get("/models?kept=pinned")["models"] == []


def test_it_fits_a_phone_in_both_themes(system: System, browser: Browser, visitor: Visitor) -> None:
    pages = {"models": "/models", "none": "/models?q=nobody", "checkpoints": "/jobs/1?tab=checkpoints"}
    assert_pages_fit_a_phone(browser, visitor, system.url, pages, "models-phone")


def save(system: System, job_id: int) -> None:
    """Have it save a checkpoint, and wait until that is told."""
    # Events come live a moment before the record has them: only what runs there can save.
    before = system.wait_job(job_id, "running")["last_checkpoint"]
    system.post(f"/jobs/{job_id}/save")
    system.wait_job(job_id, lambda job: job["last_checkpoint"] != before)
