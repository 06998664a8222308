"""Of the forty checks those that need a worker: trainings that run, are stopped, resumed, heard and repeated."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect

from shared.jobs import ENDED
from tests.browser.conftest import Visitor
from tests.browser.listening import EAR, STATES, position_of, wait_beyond
from tests.browser.looks import assert_accessible
from tests.browser.test_charts import wait_for_points
from tests.sounds import write_sounds
from tests.system import LONG, SMALL, JobJson, System, event_of, first_step, trainers_of

QUICK: dict[str, Any] = {**SMALL, "expansion": 2}
ENDLESS: dict[str, Any] = {**SMALL, "epochs": LONG, "expansion": 200}
SLOW_STEPS: dict[str, Any] = {
    "epochs": LONG,
    "chunk_s": 3.0,
    "batch_size": 16,
    "expansion": 400,
    "preview_every": 0,
    "speeds": [1.0],
}
"""Some tenths of a second each."""
HEARD_S = 0.5
"""After so long a trainer has heard of a wish, for which it looks ten times a second."""
BUSY = 60 / (os.cpu_count() or 1)
"""Utilisation of the machine, 0 … 100, of which one busy core is well above."""
TRAINING_MS = 120_000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("running")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.start_worker("studio")
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        system.add_dataset("long", write_sounds(folder / "long", 16, duration_s=3.0, first_seed=40))
        yield system


@pytest.fixture(autouse=True)
def _nothing_left(system: System) -> Iterator[None]:
    """What a test leaves in the queue would keep the next one's job waiting."""
    yield
    jobs = system.get("/jobs?state=queued,held,starting,running,pausing,cancelling")["jobs"]
    if jobs:
        system.post("/jobs/bulk", {"action": "cancel", "jobs": [job["id"] for job in jobs]})
        for job in jobs:
            system.wait_job(job["id"], lambda job: job["state"] in ENDED)  # it may be done in this moment


def open_job(page: Page, system: System, job_id: int, tab: str = "") -> None:
    page.goto(f"{system.url}/jobs/{job_id}{f'?tab={tab}' if tab else ''}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def wait_recorded(system: System, event: JobJson) -> None:
    """Wait until the record has an event that was told live, and all before it."""
    system.wait_job(event["job_id"], lambda job: job["last_event"] >= event["number"])


def badge(page: Page, state: str) -> None:
    expect(page.locator(f".badge[data-state={state}]").first).to_be_visible(timeout=TRAINING_MS)


def test_06_a_queued_job_that_is_cancelled_never_starts(system: System, visitor: Visitor) -> None:
    first = system.train("kicks", **ENDLESS)
    first_step(system, first)
    second, third = system.train("kicks", **QUICK, epochs=1), system.train("kicks", **QUICK, epochs=1)
    page = visitor.page
    page.goto(system.url)
    row = page.locator(f"[data-job='{second}']")
    expect(row.locator(".badge[data-state=queued]")).to_be_visible()
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".badge[data-state=cancelled]")).to_be_visible()
    page.locator(f"[data-job='{first}']").get_by_role("button", name="Cancel").click()
    system.wait_job(third, "completed")
    job = system.get(f"/jobs/{second}")
    assert (job["state"], job["attempt"], job["started_at"]) == ("cancelled", 0, None)
    assert {event["body"]["type"] for event in system.events(second)} == {"state"}
    assert visitor.complaints == []


def test_07_a_running_one_shows_cancelling_then_cancelled_with_its_saved_step_and_its_process_is_gone(
    system: System, visitor: Visitor
) -> None:
    page = visitor.page
    page.add_init_script(STATES)
    job_id = system.train("kicks", **ENDLESS)
    first_step(system, job_id)
    (trainer,) = trainers_of(system, "studio")
    open_job(page, system, job_id)
    badge(page, "running")
    page.get_by_role("button", name="Cancel").click()
    badge(page, "cancelled")
    assert page.evaluate("window.states")[-2:] == ["cancelling", "cancelled"]
    saved = page.get_by_text(re.compile(r"Saved step [\d,]+ in")).first
    expect(saved).to_be_visible()
    step = int(re.sub(r"\D", "", saved.inner_text().split(" in ")[0]))
    assert step == system.get(f"/jobs/{job_id}/checkpoints")["checkpoints"][0]["step"] > 0
    assert not psutil.pid_exists(trainer.pid) or trainer.status() == psutil.STATUS_ZOMBIE
    visitor.picture("07-cancelled")
    assert_accessible(visitor)
    assert visitor.complaints == []


def test_21_no_capable_worker_a_warning_before_submitting(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/new?dataset=1&kind=train")
    summary = page.get_by_role("complementary", name="Summary")
    expect(summary.locator("[data-fresh=true]")).to_be_visible()
    before = summary.inner_text()
    assert "worker" not in before, before
    page.get_by_text("Where and when").click()
    page.get_by_label("Labels", exact=False).first.fill("big-gpu")
    page.keyboard.press("Enter")
    expect(summary).to_contain_text("No worker that is online has the label big-gpu")
    expect(summary).to_contain_text("The job will wait for one")
    visitor.picture("21-no-worker")
    assert_accessible(visitor)
    assert all(job["placement"]["labels"] != ["big-gpu"] for job in system.get("/jobs")["jobs"]), "nothing was sent"


def test_22_loss_points_arrive_without_reload(system: System, visitor: Visitor) -> None:
    job_id = system.train("kicks", **ENDLESS)
    page = visitor.page
    open_job(page, system, job_id)
    page.evaluate("window.untouched = true")
    wait_for_points(page, 5)
    seen = int(page.locator("[data-chart=loss]").get_attribute("data-points") or 0)
    wait_for_points(page, seen + 20)
    assert page.evaluate("window.untouched")
    visitor.picture("22-live")
    assert_accessible(visitor)
    assert visitor.complaints == []


def test_27_resume_goes_on_in_step_epoch_and_chart_with_a_sane_eta(system: System, visitor: Visitor) -> None:
    job_id = system.train("kicks", **{**SMALL, "expansion": 100, "epochs": 400})
    system.wait_event(job_id, event_of(1, "epoch"))
    system.post(f"/jobs/{job_id}/pause")
    job = system.wait_job(job_id, "paused")
    step, epoch = job["progress"]["step"], job["progress"]["epoch"]
    page = visitor.page
    open_job(page, system, job_id)
    page.get_by_role("button", name="Resume", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"{step:,} of")).to_be_visible()
    visitor.picture("27-resume")
    assert_accessible(visitor)
    dialog.get_by_role("button", name="Continue training").click()
    badge(page, "running")
    wait_for_points(page, step + 30)
    expect(page.locator(".progress-text")).to_contain_text(re.compile(r"left"))
    job = system.wait_job(job_id, lambda job: job["progress"]["step"] > step and job["eta_s"] is not None)
    assert job["progress"]["epoch"] >= epoch
    left = job["progress"]["total_steps"] - job["progress"]["step"]
    assert job["eta_s"] == pytest.approx(left / job["steps_per_s"], rel=0.5), "by this attempt's own rate"
    steps = [one for event in system.events(job_id, "steps") for one in event["body"]["step"]]
    assert steps == list(range(1, len(steps) + 1)), "no step is lost or doubled"
    assert visitor.complaints == []


def is_of(event: dict[str, Any], kind: str, name: str | None) -> bool:
    """Whether an event tells of that checkpoint or preview: both are named after the step."""
    return event["body"]["type"] == kind and event["body"].get("name") == name


def test_28_save_now_lists_a_checkpoint_within_one_step(system: System, visitor: Visitor) -> None:
    job_id = system.train("long", **SLOW_STEPS)
    page = visitor.page
    open_job(page, system, job_id, "checkpoints")
    system.wait_event(job_id, event_of(1, "steps", after_step=2))
    with page.expect_response(re.compile("/save$")) as answered:
        page.get_by_role("button", name="Save now").click()
    answered.value.finished()
    timing = answered.value.request.timing  # the browser's own: this test may hear of it later
    asked_at = (timing["startTime"] + timing["responseEnd"]) / 1000
    assert timing["responseEnd"] >= 0
    row = page.locator("[data-checkpoint]").filter(has_text="asked for").first
    expect(row).to_be_visible()
    name = row.get_attribute("data-checkpoint") or ""
    step = int(name.split("-")[1])
    # The page heard of it live, and the record trails by a moment: all steps before it have to be there.
    saved = system.wait_event(job_id, lambda event: is_of(event, "checkpoint", name))
    wait_recorded(system, saved)
    # The trainer has heard of the wish by then; what is under way ends, and then it saves.
    heard_at = asked_at + HEARD_S
    told = [each["body"]["step"][-1] for each in system.events(job_id, "steps") if each["at"] <= heard_at]
    assert step - told[-1] <= 2, f"{step} is a step or two beyond {told[-1]}"
    assert visitor.complaints == []


def test_29_a_preview_appears_with_its_epoch_play_sounds(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.add_init_script(EAR)
    job_id = system.train("kicks", **{**SMALL, "chunk_s": 0.4, "expansion": 40, "epochs": LONG, "preview_every": 1})
    open_job(page, system, job_id, "previews")
    page.evaluate("window.untouched = true")
    expect(page.locator("[data-preview] h2")).to_have_text(re.compile(r"Epoch \d+, step [\d,]+"), timeout=TRAINING_MS)
    assert page.evaluate("window.untouched")
    first = page.locator("[data-preview]").get_attribute("data-preview")
    # The page heard of it live; the record trails by a moment.
    wait_recorded(system, system.wait_event(job_id, lambda event: is_of(event, "preview", first)))
    assert first in [one["name"] for one in system.get(f"/jobs/{job_id}/previews")["previews"]]
    expect(page.locator("[data-playing]")).to_have_count(0)
    assert page.evaluate("loudest()") == 0, "nothing plays by itself"
    page.get_by_role("button", name=re.compile("^Play reconstruction")).first.click()
    page.wait_for_function("() => loudest(32768) > 0.01")  # the sound may be over before anybody looks
    page.wait_for_function("() => [...document.querySelectorAll('.spectrogram img')].every((one) => one.naturalWidth)")
    visitor.picture("29-previews")
    assert_accessible(visitor)
    assert visitor.complaints == []


def test_32_a_failure_shows_the_plain_cause_then_the_traceback_then_retry(system: System, visitor: Visitor) -> None:
    # Features are made anew, and one of the clips is not in the store any more.
    clip = system.get("/datasets/1")["files"][0]["sha256"]
    stored = system.data / "store" / "clips" / clip
    aside = stored.with_name("aside")
    shutil.move(stored, aside)
    for cached in system.data.glob(f"cache/**/{clip}*"):
        cached.unlink()
    job_id = system.train("kicks", **{**QUICK, "spectrogram": {"n_fft": 512, "n_mels": 24}, "epochs": 1})
    page = visitor.page
    open_job(page, system, job_id)
    badge(page, "failed")
    alert = page.get_by_role("main").get_by_role("alert")
    cause = alert.locator("p").first.inner_text()
    assert "Traceback" not in cause
    assert cause.endswith(".")
    details = alert.locator("details")
    expect(details.locator("pre")).to_be_hidden()
    details.locator("summary").click()
    expect(details.locator("pre")).to_contain_text("Traceback")
    visitor.picture("32-failed")
    assert_accessible(visitor)
    shutil.move(aside, stored)
    page.get_by_role("button", name="Retry").click()
    badge(page, "completed")
    expect(alert).to_have_count(0)
    assert visitor.complaints == []


def test_35_device_meters_move_under_load(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    card = page.locator("[data-worker=studio]")
    expect(card).to_contain_text("Idle")
    meter = card.locator(".meter-line").filter(has_text="Utilisation")
    page.evaluate(
        """() => {
          window.meters = [];
          const look = () => {
            const text = document.querySelector('[data-worker=studio] .meter-line')?.innerText ?? '';
            if (window.meters.at(-1) !== text) window.meters.push(text);
          };
          new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
        }"""
    )
    job_id = system.train("long", **SLOW_STEPS)
    first_step(system, job_id)
    page.wait_for_function("() => window.meters.length >= 3", timeout=TRAINING_MS)
    page.wait_for_function(
        r"(busy) => Number(/(\d+) %/.exec(window.meters.at(-1))?.[1]) >= busy", arg=BUSY, timeout=TRAINING_MS
    )
    expect(meter.locator(".time-line")).to_be_attached()
    expect(card.locator(".meter-line").filter(has_text="Temperature")).to_contain_text(re.compile("°C|not reported"))
    visitor.picture("35-meters")
    assert_accessible(visitor)


def test_37_the_same_seed_makes_the_same_audio(system: System, visitor: Visitor) -> None:
    changes = {**QUICK, "chunk_s": 0.3, "epochs": 2, "preview_every": 1}
    first = system.train("kicks", **changes, seed=7)
    system.wait_job(first, "completed")
    # All compute in one way, as trainings of one machine do unless other programs disturb its choice of the fastest.
    same, other = system.train_like(first, "kicks", **changes, seed=7), system.train_like(first, "kicks", **changes)
    for job_id in (same, other):
        system.wait_job(job_id, "completed")
    page = visitor.page
    heard = {job_id: sounds_on(page, system, job_id) for job_id in (first, same, other)}
    assert heard[first] == heard[same]
    assert heard[first] != heard[other]
    assert visitor.complaints == []


def sounds_on(page: Page, system: System, job_id: int) -> list[str]:
    """What the newest preview of a job sounds like: a hash of each sound on the page, but for the originals."""
    open_job(page, system, job_id, "previews")
    expect(page.locator("[data-preview] h2")).to_have_text(re.compile("^Epoch 2,"))
    hashes: list[str] = page.evaluate(
        """async () => {
          const pictures = [...document.querySelectorAll('.spectrogram img')].map((one) => one.src);
          const made = pictures.filter((one) => !one.includes('/original-')).map((one) => one.replace(/png$/, 'wav'));
          return Promise.all(made.map(async (address) => {
            const sound = await (await fetch(address)).arrayBuffer();
            return [...new Uint8Array(await crypto.subtle.digest('SHA-256', sound))].join();
          }));
        }"""
    )
    assert len(hashes) > 1
    return hashes


def tab_to(page: Page, name: str) -> None:
    """Go on with the Tab key until the control of that name has the focus."""
    for _ in range(250):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.innerText ?? ''"
        )
        if re.search(name, focused):
            return
    raise AssertionError(f"the Tab key does not reach {name}")


def test_39_keyboard_only_submit_cancel_play_axe_finds_no_violation_in_light_and_dark(
    system: System, visitor: Visitor
) -> None:
    heard = system.train("long", **{**QUICK, "chunk_s": 2.5, "epochs": 1, "preview_every": 1})
    system.wait_job(heard, "completed")
    page = visitor.page
    page.goto(system.url)
    expect(page.locator(f"[data-job='{heard}']")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    tab_to(page, "^Dataset|Choose one")
    expect(page.get_by_label("Dataset").locator("option", has_text="kicks")).to_be_attached()
    page.keyboard.press("k")  # the first letter of kicks
    expect(page.get_by_label("Dataset")).to_have_value("1")
    tab_to(page, "^Start training$")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/$"))
    submitted = system.get("/jobs?limit=1&state=queued,starting,running")["jobs"][0]["id"]
    row = page.locator(f"[data-job='{submitted}']")
    tab_to(page, "^Cancel$")
    # The row goes to another group meanwhile, and takes the focus along.
    expect(row.locator(".badge[data-state=running]")).to_be_visible(timeout=TRAINING_MS)
    expect(row.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.locator(".badge[data-state=cancelled]")).to_be_visible(timeout=TRAINING_MS)
    page.goto(f"{system.url}/jobs/{heard}?tab=previews")
    expect(page.locator("[data-preview]")).to_be_visible()
    tab_to(page, "^Play reconstruction")
    page.keyboard.press("Space")
    title = page.locator("[data-playing]").first.get_attribute("data-sound") or ""
    wait_beyond(position_of(page, title), 0.05)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert visitor.complaints == []
    job = f"/jobs/{heard}"
    paths = ["/", "/datasets", "/datasets/1", "/new", "/workers", f"/compare?jobs={heard},{submitted}", "/models", job]
    paths += [f"{job}?tab={tab}" for tab in ("previews", "checkpoints", "log", "config")] + [
        f"/new?from={heard}",
        "/no",
    ]
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for path in paths:
            page.goto(system.url + path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.wait_for_load_state("networkidle")
            assert_accessible(visitor)
