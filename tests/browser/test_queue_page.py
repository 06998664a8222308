"""The queue in people's hands, on the real page: order, hold, pause, many at once, other settings, the same again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible, assert_pages_fit_a_phone
from tests.sounds import write_sounds
from tests.system import SMALL, JobJson, System

QUICK: dict[str, Any] = {**SMALL, "expansion": 2, "epochs": 1}
TRAINING_MS = 120_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """With two datasets and one worker."""
    folder = tmp_path_factory.mktemp("queue")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        system.add_dataset("voices", write_sounds(folder / "voices", 6, first_seed=50))
        yield system


@pytest.fixture
def paused(system: System) -> Iterator[System]:
    """Nothing starts, so that the queue holds still; at the end nothing is left in it."""
    system.post("/queue/pause")
    yield system
    waiting = [job["id"] for job in system.get("/jobs?state=queued,held")["jobs"]]
    if waiting:
        system.post("/jobs/bulk", {"action": "cancel", "jobs": waiting})
    system.post("/queue/resume")


def submit(system: System, name: str, **more: Any) -> int:
    body = {"kind": "train", "dataset": "kicks", "name": name, "changes": QUICK, **more}
    return int(system.post("/jobs", body)["id"])


def row(page: Page, job_id: int) -> Locator:
    return page.locator(f"[data-job='{job_id}']")


def choose(page: Page, job_id: int, item: str) -> None:
    """Take something from the menu of a row."""
    row(page, job_id).get_by_role("button", name=re.compile("^More for")).click()
    page.get_by_role("menuitem", name=item).click()


def expect_order(page: Page, *job_ids: int) -> None:
    """Wait until these jobs wait in this order, and no others."""
    rows = page.get_by_role("region", name="Waiting").locator("[data-job]")
    expect(rows).to_have_count(len(job_ids))
    for place, job_id in enumerate(job_ids):
        expect(rows.nth(place)).to_have_attribute("data-job", str(job_id))


def until_moved(page: Page) -> AbstractContextManager[object]:
    """Wait at the end of the block until the server has answered a move: what is asked of it next comes after that."""
    return page.expect_response(re.compile("/move$"))


def drag(page: Page, moved: int, onto: int) -> None:
    """Take a row by its handle and let it go in the upper half of another one."""
    # It waits until the row stands still.
    row(page, moved).get_by_role("button", name=re.compile("^Move ")).hover()
    target = row(page, onto).bounding_box()
    assert target
    page.mouse.down()
    page.mouse.move(target["x"] + 20, target["y"] + target["height"] / 2, steps=6)
    page.mouse.move(target["x"] + 20, target["y"] + 4, steps=3)
    page.mouse.up()


def test_10_reordering_changes_the_order_of_starting(paused: System, visitor: Visitor) -> None:
    first, second, third = (submit(paused, name) for name in ("first", "second", "third"))
    page = visitor.page
    page.goto(paused.url)
    expect(page.get_by_text("The queue is paused since")).to_be_visible()
    expect(row(page, first)).to_contain_text("paused")
    expect_order(page, first, second, third)
    visitor.picture("queue-1-paused")
    assert_accessible(visitor)

    with until_moved(page):
        drag(page, third, onto=first)
        expect_order(page, third, first, second)
    grip = row(page, second).get_by_role("button", name=re.compile("^Move "))
    grip.focus()
    with until_moved(page):
        page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_text("second is number 2 of 3.")).to_be_attached()
    expect(row(page, second).get_by_role("button", name="Move second: number 2 in the queue")).to_be_focused()
    expect_order(page, third, second, first)
    choose(page, first, "Run next")
    expect(page.get_by_text("first runs next.")).to_be_visible()
    page.reload()
    expect(row(page, first)).to_be_visible()
    expect_order(page, first, third, second)  # the server has the same

    page.get_by_role("button", name="Resume queue").click()
    expect(page.get_by_role("button", name="Pause queue")).to_be_visible()
    done = [paused.wait_job(job_id, "completed") for job_id in (first, third, second)]
    starts = [job["started_at"] for job in done]
    assert starts == sorted(starts)
    assert visitor.complaints == []


def test_a_move_that_is_refused_is_taken_back(paused: System, visitor: Visitor) -> None:
    first, second = submit(paused, "stays"), submit(paused, "goes")
    page = visitor.page
    page.goto(paused.url)
    expect(page.get_by_text("The queue is paused since")).to_be_visible()
    for job_id in (first, second):
        expect(row(page, job_id)).to_contain_text("paused")
    page.route(re.compile(f"/jobs/{second}/move$"), lambda route: route.fulfill(status=409, json={"error": "No."}))
    drag(page, second, onto=first)
    expect(page.get_by_text("No.", exact=True)).to_be_visible()
    expect_order(page, first, second)


def test_a_held_job_waits_until_it_is_released(system: System, visitor: Visitor) -> None:
    job_id = submit(system, "patient", held=True)
    page = visitor.page
    page.goto(system.url)
    expect(row(page, job_id).locator(".badge[data-state=held]")).to_be_visible()
    row(page, job_id).get_by_role("button", name="Release").click()
    system.wait_job(job_id, "completed")
    expect(row(page, job_id).locator(".badge[data-state=completed]")).to_be_visible()
    system.post("/queue/pause")
    again = submit(system, "on second thoughts")
    choose(page, again, "Hold")
    expect(row(page, again).locator(".badge[data-state=held]")).to_be_visible()
    system.post("/queue/resume")
    row(page, again).get_by_role("button", name="Cancel").click()
    expect(row(page, again).locator(".badge[data-state=cancelled]")).to_be_visible()
    assert visitor.complaints == []


def test_the_page_of_a_held_job_says_that_it_waits_and_releases_it(paused: System, visitor: Visitor) -> None:
    job_id = submit(paused, "held back", held=True)
    page = visitor.page
    page.goto(f"{paused.url}/jobs/{job_id}")
    state = page.get_by_role("region", name="State of the job")
    expect(state).to_contain_text("Held: waits for you.")
    expect(page.get_by_role("heading", name="It has not started yet")).to_be_visible()
    expect(state.get_by_role("progressbar")).to_have_count(0)
    assert_accessible(visitor)
    visitor.picture("queue-held-job")
    state.get_by_role("button", name="Release").click()
    expect(state.locator(".badge[data-state=queued]")).to_be_visible()
    expect(state).to_contain_text("The queue is paused.")
    paused.post(f"/jobs/{job_id}/cancel")


def test_a_new_place_that_brings_another_priority_says_so(paused: System, visitor: Visitor) -> None:
    first, second = submit(paused, "pressing", priority="high"), submit(paused, "plain")
    page = visitor.page
    page.goto(paused.url)
    choose(page, second, "Run next")
    expect(page.get_by_text("plain runs next. Its priority is now high.")).to_be_visible()
    expect_order(page, second, first)
    for job_id in (first, second):
        paused.post(f"/jobs/{job_id}/cancel")


def test_many_jobs_at_once(paused: System, visitor: Visitor) -> None:
    """What could not be done is told by name, and stays selected."""
    page = visitor.page
    ended = submit(paused, "gone before")
    paused.post(f"/jobs/{ended}/cancel")
    waiting = [submit(paused, f"wave {number}") for number in range(4)]
    page.goto(paused.url)
    expect_order(page, *waiting)
    row(page, waiting[0]).get_by_role("checkbox").check()
    row(page, waiting[3]).get_by_role("checkbox").click(modifiers=["Shift"])
    row(page, ended).get_by_role("checkbox").check()
    bar = page.get_by_role("toolbar", name="Selected jobs")
    expect(bar).to_contain_text("5 selected")
    visitor.picture("queue-2-selected")
    assert_accessible(visitor)
    bar.get_by_role("button", name="Hold the selected jobs").click()
    expect(page.get_by_text(re.compile(r"4 jobs are held\. gone before: .+"))).to_be_visible()
    expect(bar).to_contain_text("1 selected")
    visitor.picture("queue-3-held")
    bar.get_by_role("button", name="Select nothing").click()
    page.get_by_role("checkbox", name="Select all: waiting").check()
    bar.get_by_role("button", name="Cancel the selected jobs").click()
    expect(page.get_by_text("4 jobs are cancelled.")).to_be_visible()
    assert {paused.get(f"/jobs/{job_id}")["state"] for job_id in waiting} == {"cancelled"}
    assert visitor.complaints == []


def test_09_retry_and_duplicate_keep_every_field(paused: System, visitor: Visitor) -> None:
    other = submit(paused, "before it")
    placement = {
        "labels": ["studio", "big-gpu"],
        "worker": "studio",
        "min_free_memory_bytes": 1_500_000_001,
        "only_when_idle": True,
        "hours": {"start": "23:00", "end": "07:00"},
        "time_limit_s": 5_461.0,
    }
    changes = {**QUICK, "learning_rate": 3e-4, "random_crops": False, "speeds": [1.0, 0.87], "pitches": []}
    asked = {"placement": placement, "priority": "high", "held": True, "after": [other], "device": "cpu"}
    job_id = submit(paused, "night shift", preset="balanced", representation="mel_if", changes=changes, **asked)
    page = visitor.page
    page.goto(paused.url)
    choose(page, job_id, "Duplicate …")
    expect(page.get_by_label("Name")).to_have_value("night shift")
    expect(page.get_by_text("high priority · held").first).to_be_visible()
    visitor.picture("queue-4-duplicate")
    assert_accessible(visitor)
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("link", name="Open it").click()
    expect(page.get_by_role("heading", name="night shift", level=1)).to_be_visible()
    copy_id = int(page.url.split("/jobs/")[1])
    mine, theirs = (without_dataset(paused.get(f"/jobs/{each}")) for each in (copy_id, job_id))
    assert copy_id != job_id
    assert mine == theirs
    assert visitor.complaints == []


def without_dataset(job: JobJson) -> JobJson:
    """What was asked for and what it came to; a dataset may be named or numbered."""
    request = {name: value for name, value in job["request"].items() if name != "dataset"}
    return {"request": request, "train": job["train"], "dataset": job["dataset"]}


def test_a_queued_job_gets_other_settings(paused: System, visitor: Visitor) -> None:
    page = visitor.page
    job_id = submit(paused, "too long")
    page.goto(f"{paused.url}/new")
    page.get_by_label("Name").fill("a draft of mine")
    page.goto(paused.url)
    choose(page, job_id, "Edit settings …")
    expect(page.get_by_role("heading", name="Edit too long")).to_be_visible()
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_text("Where and when").click()
    page.get_by_label("Time limit").fill("2")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_label("Time limit")).to_be_focused()
    expect(page.get_by_text("Write a time with its unit")).to_be_visible()
    page.get_by_label("Time limit").fill("2 h")
    visitor.picture("queue-5-edit")
    assert_accessible(visitor)
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("too long is changed.")).to_be_visible()
    expect(page.get_by_text("at most 2 h 0 min").first).to_be_visible()
    visitor.picture("queue-6-config")
    assert_accessible(visitor)
    job = paused.get(f"/jobs/{job_id}")
    assert (job["train"]["epochs"], job["placement"]["time_limit_s"]) == (3, 7200.0)
    page.goto(f"{paused.url}/new")
    expect(page.get_by_label("Name")).to_have_value("a draft of mine")
    assert visitor.complaints == []


def test_a_sweep_is_one_batch(paused: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{paused.url}/new?dataset=1&kind=train")
    page.get_by_text("Several at once").click()
    page.get_by_role("checkbox", name=re.compile("voices")).check()
    page.get_by_role("button", name="Vary a setting").click()
    page.get_by_label("Vary", exact=True).select_option(label="Latent dimensions")
    page.get_by_label("Over these values").fill("8, 16, 32")
    expect(page.get_by_text("This becomes 6 jobs")).to_be_visible()
    visitor.picture("queue-7-sweep")
    assert_accessible(visitor)
    page.get_by_role("button", name="Start 6 trainings").click()
    batch = page.get_by_role("region", name=re.compile(r"^Batch \d+$"))
    expect(batch).to_contain_text("6 jobs, 6 waiting")
    for name in ("kicks mel, latent_dim 8", "voices mel, latent_dim 32"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    visitor.picture("queue-8-batch")
    assert_accessible(visitor)
    batch.get_by_role("button", name="Cancel the batch").click()
    expect(page.get_by_text("6 jobs are cancelled.")).to_be_visible()
    expect(batch.get_by_role("button", name="Cancel the batch")).to_have_count(0)
    assert visitor.complaints == []


@pytest.mark.parametrize(
    ("address", "told", "label", "leads_to"),
    [
        ("/jobs/9999", "There is no job 9999.", "Go to the queue", "/"),
        ("/datasets/9999", "There is no dataset 9999.", "All datasets", "/datasets"),
    ],
)
def test_what_is_not_there_leads_to_what_is(
    paused: System, visitor: Visitor, *, address: str, told: str, label: str, leads_to: str
) -> None:
    page = visitor.page
    page.goto(f"{paused.url}{address}")
    problem = page.get_by_role("alert").filter(has_text=told)
    expect(problem).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    assert_accessible(visitor)
    problem.get_by_role("link", name=label).click()
    expect(page).to_have_url(f"{paused.url}{leads_to}")


def test_it_fits_a_phone_in_both_themes(paused: System, browser: Browser, visitor: Visitor) -> None:
    before = submit(paused, "features first, with quite a long name that has to wrap somewhere")
    placement = {"labels": ["studio"], "hours": {"start": "23:00", "end": "07:00"}, "only_when_idle": True}
    job_id = submit(paused, "a training", placement=placement, priority="high", after=[before])
    pages = {"queue": "/", "edit": f"/jobs/{job_id}/edit", "config": f"/jobs/{job_id}?tab=config"}
    assert_pages_fit_a_phone(browser, visitor, paused.url, pages, "queue-phone")
