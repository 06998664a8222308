"""Of the forty checks those that need no worker: lists, the form, charts and previews of told trainings."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, expect
from redis import Redis

from shared.events import Warned
from shared.redis_client import connect
from tests.browser.conftest import Visitor
from tests.browser.listening import EAR, position_of, wait_beyond
from tests.browser.looks import assert_accessible
from tests.browser.test_charts import NOISE, hover, wait_for_points
from tests.browser.told import Told, falling
from tests.sounds import make_sound
from tests.system import SMALL, System

LONG_S = 8.0


@pytest.fixture(scope="module")
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as redis:
        yield redis


@pytest.fixture(scope="module")
def long_sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three lasting sounds; the second is a quarter as loud as the first, which it equals otherwise."""
    folder = tmp_path_factory.mktemp("long")
    tone = 0.8 * np.sin(2 * np.pi * 220 * np.arange(round(LONG_S * 48_000)) / 48_000)
    for name, sound in (("loud", tone), ("soft", tone / 4), ("noise", make_sound(3, duration_s=LONG_S))):
        soundfile.write(folder / f"{name}.wav", sound, 48_000, subtype="PCM_16")
    return [folder / f"{name}.wav" for name in ("loud", "soft", "noise")]


def hold(system: System, name: str) -> int:
    body = {"kind": "train", "dataset": "drums", "name": name, "held": True, "changes": SMALL}
    return int(system.post("/jobs", body)["id"])


def test_02_an_empty_queue_explains_itself_and_links_to_new_job(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(system.url)
    main = page.get_by_role("main")
    expect(main.get_by_role("heading", level=2)).to_be_visible()
    assert len(main.locator(".empty p").inner_text()) > 30, "it says what to do"
    visitor.picture("02-empty-queue")
    assert_accessible(visitor)
    main.locator(".empty").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("/new$|/datasets$"))
    page.goto(system.url)
    expect(main.get_by_role("link", name="Start a job")).to_have_attribute("href", "/new")
    assert visitor.complaints == []


def test_03_a_submitted_job_appears_within_1_s_without_reload(drums: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(drums.url)
    expect(page.locator(".dot")).to_have_attribute("data-connected", "true")
    page.evaluate("window.untouched = true")
    took_s: list[float] = []
    for number in range(3):  # a machine that stood still for a moment proves nothing
        job_id = hold(drums, f"new {number}")
        began = time.monotonic()
        expect(page.locator(f"[data-job='{job_id}']")).to_be_visible()
        took_s.append(time.monotonic() - began)
    assert statistics.median(took_s) < 1.0 * NOISE
    assert page.evaluate("window.untouched"), "nothing was loaded anew"


def test_04_a_second_tab_shows_a_change_within_2_s(drums: System, visitor: Visitor, context: BrowserContext) -> None:
    job_id = hold(drums, "seen twice")
    other = context.new_page()
    for page in (visitor.page, other):
        page.goto(drums.url)
        expect(page.locator(f"[data-job='{job_id}'] .badge[data-state=held]")).to_be_visible()
    visitor.page.locator(f"[data-job='{job_id}']").get_by_role("button", name="Release").click()
    expect(other.locator(f"[data-job='{job_id}'] .badge[data-state=queued]")).to_be_visible(timeout=2_000 * NOISE)
    drums.post(f"/jobs/{job_id}/cancel")


def test_05_a_queued_row_states_its_reason(drums: System, visitor: Visitor) -> None:
    page = visitor.page
    first = hold(drums, "goes first")
    body = {"kind": "train", "dataset": "drums", "name": "waits", "changes": SMALL}
    free, after = drums.post("/jobs", body)["id"], drums.post("/jobs", {**body, "after": [first]})["id"]
    page.goto(drums.url)
    expect(page.locator(f"[data-job='{free}'] .job-reason")).to_contain_text("worker")
    expect(page.locator(f"[data-job='{after}'] .job-reason")).to_contain_text("goes first")
    drums.post("/jobs/bulk", {"action": "cancel", "jobs": [free, after, first]})


def test_11_filters_survive_a_reload_and_a_copied_link(
    drums: System, visitor: Visitor, context: BrowserContext
) -> None:
    kept, other = hold(drums, "kept kicks"), hold(drums, "other snares")
    page = visitor.page
    page.goto(drums.url)
    page.get_by_role("link", name="Waiting", exact=True).click()
    page.get_by_role("searchbox").fill("kicks")
    copied = context.new_page()
    for shown in (page, copied):
        if shown is page:
            expect(page).to_have_url(re.compile("q=kicks"))
            page.reload()
        else:
            copied.goto(page.url)
        expect(shown.locator(f"[data-job='{kept}']")).to_be_visible()
        expect(shown.locator(f"[data-job='{other}']")).to_have_count(0)
        expect(shown.get_by_role("link", name="Waiting", exact=True)).to_have_attribute("aria-current", "true")
        expect(shown.get_by_role("searchbox")).to_have_value("kicks")
    drums.post("/jobs/bulk", {"action": "cancel", "jobs": [kept, other]})


def test_19_an_invalid_value_message_beside_the_field_focus_moves_there_nothing_lost(
    drums: System, visitor: Visitor
) -> None:
    page = visitor.page
    page.goto(f"{drums.url}/new?kind=train")
    page.get_by_label("Dataset").select_option(label="drums (12 clips)")
    page.get_by_label("Name").fill("careful")
    page.get_by_text("Advanced").first.click()
    page.locator("#field-latent_dim").fill("-4")
    page.get_by_label("Epochs", exact=True).fill("7")
    page.get_by_text("Advanced").first.click()
    page.get_by_role("button", name="Start training").click()
    field = page.locator("#field-latent_dim")
    expect(field).to_be_focused()
    message = page.locator("#field-latent_dim-error")
    expect(message).to_be_visible()
    beside, place = message.bounding_box(), field.bounding_box()
    assert beside
    assert place
    assert 0 <= beside["y"] - place["y"] < 100
    assert abs(beside["x"] - place["x"]) < 20
    expect(page.get_by_label("Name")).to_have_value("careful")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("7")
    visitor.picture("19-invalid")
    assert_accessible(visitor)
    assert all(job["name"] != "careful" for job in drums.get("/jobs")["jobs"])


def test_20_a_reload_keeps_the_draft(drums: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{drums.url}/new?kind=train")
    page.get_by_label("Dataset").select_option(label="drums (12 clips)")
    page.get_by_label("Name").fill("half typed")
    page.get_by_label("Epochs", exact=True).fill("321")
    page.get_by_role("radio", name=re.compile("Balanced")).check()
    page.get_by_text("Advanced").first.click()
    page.locator("#field-learning_rate").fill("0.002")
    page.reload()
    expect(page.get_by_label("Name")).to_have_value("half typed")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("321")
    expect(page.get_by_role("radio", name=re.compile("Balanced"))).to_be_checked()
    expect(page.locator("#field-learning_rate")).to_have_value("0.002")
    expect(page.get_by_label("Dataset").locator("option:checked")).to_have_text("drums (12 clips)")


@pytest.fixture(scope="module")
def told(drums: System, redis: Redis, long_sounds: list[Path]) -> Told:
    """A training with 400 steps, a gap in its loss, and previews of three epochs."""
    told = Told(drums, redis, name="told", dataset="drums")
    told.counts()
    told.steps(1, 400, size=100, loss=lambda step: math.nan if 200 <= step <= 220 else falling(step))
    told.tell([Warned(code="not_a_number", message="The loss was no number.", advice="Lower it.", step=200)])
    loud, soft, noise = long_sounds
    for epoch in (1, 2, 3):
        told.preview(epoch, soft, original=loud, sample=noise)
    return told


def test_24_smoothing_axis_and_scale_persist(drums: System, told: Told, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{drums.url}/jobs/{told.id}")
    wait_for_points(page, 300)
    page.get_by_label("Smoothing").fill("0.6")
    page.get_by_label("Log axis").check()
    page.get_by_label("Clip outliers").check()
    page.get_by_role("combobox", name="By").select_option("epoch")
    expect(page.locator("[data-chart=loss] .readout")).to_contain_text("smoothed")
    page.reload()
    wait_for_points(page, 300)
    expect(page.get_by_label("Smoothing")).to_have_value("0.6")
    expect(page.get_by_label("Log axis")).to_be_checked()
    expect(page.get_by_label("Clip outliers")).to_be_checked()
    expect(page.get_by_role("combobox", name="By")).to_have_value("epoch")
    visitor.picture("24-charts-by-epoch")
    assert_accessible(visitor)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save Loss as a picture").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    assert visitor.complaints == []


def smoothed(values: list[float], position: float) -> list[float]:
    """The mean that the page draws, with the weight of a slider at `position`."""
    weight = 1 - 1 / (1 + position**2 * max(8.0, len(values) / 10))
    mean = correction = 0.0
    means: list[float] = []
    for value in values:
        if math.isfinite(value):
            mean, correction = weight * mean + (1 - weight) * value, weight * correction + 1 - weight
        means.append(mean / correction if correction else math.nan)
    return means


def test_25_hover_shows_epoch_step_time_raw_and_smoothed_value(drums: System, redis: Redis, visitor: Visitor) -> None:
    told = Told(drums, redis, name="hovered", dataset="drums")
    told.steps(1, 300, size=100)
    page = visitor.page
    page.goto(f"{drums.url}/jobs/{told.id}")
    wait_for_points(page, 300)
    page.get_by_label("Smoothing").fill("0.5")
    page.locator("[data-chart=loss] .u-over").hover()
    at = page.locator("[data-chart=loss] .chart-at")
    expect(at).to_have_text(re.compile(r"step \d+, epoch 1, \d\d:\d\d:\d\d"))
    step = int((at.text_content() or "").split()[1].strip(","))
    assert 100 < step < 200, "the middle of the chart"
    expected = smoothed([falling(one) for one in range(1, 301)], 0.5)[step - 1]
    page.wait_for_function(  # the chart is smoothed anew in one of its next frames
        """(expected) => {
          const text = document.querySelector('[data-chart=loss] .readout').innerText;
          return Math.abs(Number(/smoothed\\s+([\\d.]+)/.exec(text)[1]) / expected - 1) < 5e-3;
        }""",
        arg=expected,
    )
    readout = page.locator("[data-chart=loss] .readout").inner_text()
    raw, mean = (float(value) for value in re.findall(r"(?:raw|smoothed)\s+([\d.]+)", readout))
    assert raw == pytest.approx(falling(step), rel=5e-3)
    assert mean == pytest.approx(expected, rel=5e-3)
    assert raw != mean
    # The other charts tell of the same step.
    expect(page.locator("[data-chart=kl] .chart-at")).to_contain_text(f"step {step},")


def test_26_a_not_a_number_leaves_a_gap_and_a_warning(drums: System, told: Told, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{drums.url}/jobs/{told.id}")
    page.wait_for_function("() => document.querySelector('[data-chart=loss]')?.dataset.points === '379'")
    warning = page.locator("[data-warning=not_a_number]")
    expect(warning).to_contain_text("The loss was no number.")
    expect(warning).to_contain_text("Lower it.")
    hover(page, 210 / 400)
    expect(page.locator("[data-chart=loss] .readout")).to_contain_text(re.compile(r"(raw|training) –"))
    # The line is broken there, and nowhere else: a column of the picture without any of its ink.
    inked = page.evaluate(
        """() => {
          const plot = document.querySelector('[data-chart=loss] canvas');
          const pen = plot.getContext('2d');
          const ratio = plot.width / plot.clientWidth;
          const over = document.querySelector('[data-chart=loss] .u-over');
          const left = over.offsetLeft * ratio;
          const accent = (data, at) => data[at + 2] > data[at + 1] + 60 && data[at + 3] > 40;
          return [0.25, 0.525, 0.75].map((share) => {
            const x = Math.round(left + share * over.clientWidth * ratio);
            const { data } = pen.getImageData(x, 0, 1, plot.height);
            return Array.from({ length: plot.height }, (_, y) => accent(data, 4 * y)).some(Boolean);
          });
        }"""
    )
    assert inked == [True, False, True]
    visitor.picture("26-gap")
    assert_accessible(visitor)


def test_30_the_scrubber_stays_put_when_newer_previews_arrive(
    drums: System, redis: Redis, visitor: Visitor, long_sounds: list[Path]
) -> None:
    told = Told(drums, redis, name="scrubbed", dataset="drums")
    loud, soft, noise = long_sounds
    for epoch in (1, 2):
        told.preview(epoch, soft, original=loud, sample=noise)
    page = visitor.page
    page.goto(f"{drums.url}/jobs/{told.id}?tab=previews")
    heading = page.locator("[data-preview] h2")
    expect(heading).to_have_text("Epoch 2, step 2,000")
    # Nobody chose one yet: the newest is what they want to hear.
    told.preview(3, soft, original=loud, sample=noise)
    expect(heading).to_have_text("Epoch 3, step 3,000")
    scrubber = page.get_by_role("slider", name="Preview")
    scrubber.focus()
    page.keyboard.press("Home")
    expect(heading).to_have_text("Epoch 1, step 1,000")
    told.preview(4, noise, original=loud, sample=soft)
    expect(page.get_by_role("button", name="Epoch 4, step 4,000")).to_be_visible()
    expect(heading).to_have_text("Epoch 1, step 1,000")
    expect(scrubber).to_have_value("0")
    # All sounds follow the scrubber, also the one that plays, and go on where they are.
    page.get_by_role("button", name=re.compile("Play reconstruction of kick")).click()
    position = position_of(page, "kick")
    wait_beyond(position, 0.5)
    before = float(position.input_value())
    scrubber.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="Pause reconstruction of kick, Epoch 2, step 2,000")).to_be_visible()
    wait_beyond(position, before)
    pictures = page.locator(".spectrogram img")
    expect(pictures.nth(1)).to_have_attribute("src", re.compile("/previews/1-2000/kick.png$"))
    expect(pictures.nth(2)).to_have_attribute("src", re.compile("/previews/1-2000/sample_1.png$"))
    page.wait_for_function("() => [...document.querySelectorAll('.spectrogram img')].every((one) => one.naturalWidth)")
    visitor.picture("30-scrubber")
    assert_accessible(visitor)
    page.get_by_role("button", name="Follow the newest").click()
    expect(heading).to_have_text("Epoch 4, step 4,000")
    assert visitor.complaints == []


def test_31_a_b_keeps_the_position_one_clip_plays(drums: System, told: Told, visitor: Visitor) -> None:
    page = visitor.page
    page.add_init_script(EAR)
    page.goto(f"{drums.url}/jobs/{told.id}?tab=previews")
    page.get_by_role("button", name=re.compile("Play original of kick")).click()
    position = position_of(page, "kick")
    wait_beyond(position, 0.4)
    listen = page.locator("[data-sound=kick]")
    expect(listen).to_have_attribute("data-playing", "0")
    # The original is four times as loud as what was made of it: both are heard as loud as the softer one.
    original = page.evaluate("loudest()")
    began = time.monotonic()
    before = float(position.input_value())
    page.get_by_role("button", name=re.compile("Play reconstruction of kick")).click()
    expect(listen).to_have_attribute("data-playing", "1")
    assert float(position.input_value()) >= before
    wait_beyond(position, before + 0.3)
    assert float(position.input_value()) - before < time.monotonic() - began + 0.5, "it went on from where it was"
    assert page.evaluate("loudest()") == pytest.approx(original, rel=0.1)
    assert original == pytest.approx(0.2, rel=0.1)
    expect(page.locator("[data-playing]")).to_have_count(1)
    page.get_by_role("button", name=re.compile("Play sample 1")).click()
    wait_beyond(position_of(page, "sample 1"), 0.1)
    expect(page.locator("[data-playing]")).to_have_count(1)
    stopped = position.input_value()
    wait_beyond(position_of(page, "sample 1"), 0.4)
    assert position.input_value() == stopped
    assert visitor.complaints == []


def test_33_a_deep_link_restores_tab_and_epoch(
    drums: System, told: Told, visitor: Visitor, context: BrowserContext
) -> None:
    page = visitor.page
    page.goto(f"{drums.url}/jobs/{told.id}")
    page.get_by_role("tab", name="Previews").click()
    page.get_by_role("button", name="Epoch 2, step 2,000").click()
    expect(page.locator("[data-preview] h2")).to_have_text("Epoch 2, step 2,000")
    copied = context.new_page()
    copied.goto(page.url)
    expect(copied.get_by_role("tab", name="Previews")).to_have_attribute("aria-selected", "true")
    expect(copied.locator("[data-preview] h2")).to_have_text("Epoch 2, step 2,000")
    expect(copied.get_by_role("slider", name="Preview")).to_have_value("1")


def test_40_at_375_px_wide_no_sideways_scroll_cancel_and_play_in_reach(
    drums: System, told: Told, browser: Browser, visitor: Visitor
) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    phone = Visitor(context.new_page(), visitor.pictures)
    phone.listen()
    page = phone.page
    job = f"/jobs/{told.id}"
    paths = ["/", "/datasets", "/datasets/1", "/new", "/workers", "/compare", "/models", job]
    paths += [f"{job}?tab={tab}" for tab in ("previews", "checkpoints", "log", "config")]
    for path in paths:
        page.goto(drums.url + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        sideways = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert sideways <= 0, f"{path} scrolls sideways by {sideways} px"
    for path, name in (
        ("/", "Cancel"),
        (job, "Cancel"),
        (f"{job}?tab=previews", "Play original of kick"),
        (f"{job}?tab=previews", "Older preview"),
        ("/datasets/1", "Play sound-000.wav"),
    ):
        page.goto(drums.url + path)
        button = page.get_by_role("button", name=re.compile(name)).first
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
        assert min(box["width"], box["height"]) >= 40, f"{name} is wide enough for a thumb"
        button.click(trial=True)
    phone.picture("40-phone")
    assert phone.complaints == []
    context.close()
