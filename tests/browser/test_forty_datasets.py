"""Of the forty checks those about datasets: dropped folders, refused files, a thousand, a broken upload, a clip."""

from __future__ import annotations

import re
import statistics
import time
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import cast

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible
from tests.browser.test_charts import NOISE
from tests.sounds import write_sounds
from tests.system import System

UPLOAD_MS = 60_000


def drop(page: Page, folder: Path) -> None:
    """Let a folder go over the place for sounds, as a file manager does."""
    place = page.locator(".drop").bounding_box()
    assert place
    where = {"x": place["x"] + place["width"] / 2, "y": place["y"] + 20}
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    devtools.detach()


def test_13_dropping_a_folder_uploads_nested_audio_and_shows_the_count(
    system: System, visitor: Visitor, tmp_path: Path
) -> None:
    kit = tmp_path / "my kit"
    write_sounds(kit, 2, first_seed=100)
    write_sounds(kit / "kicks" / "deep", 3, first_seed=110)
    page = visitor.page
    page.goto(f"{system.url}/datasets")
    drop(page, kit)
    expect(page.get_by_text("5 files, ")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("my kit")
    page.get_by_role("button", name="Create dataset").click()
    expect(page.locator("[data-added='5']")).to_be_visible(timeout=UPLOAD_MS)
    expect(page.get_by_text("5 clips").first).to_be_visible()
    expect(page.get_by_text("my kit/kicks/deep/sound-110.wav")).to_be_visible()
    assert visitor.complaints == []


def new_dataset(page: Page, url: str, name: str, files: list[Path]) -> None:
    page.goto(f"{url}/datasets")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Choose files").set_input_files(files)
    page.get_by_role("button", name="Create dataset").click()


def test_14_a_file_that_is_no_audio_gets_a_named_reason_the_others_proceed(
    system: System, visitor: Visitor, tmp_path: Path
) -> None:
    sounds = write_sounds(tmp_path, 3, first_seed=120)
    text, empty = tmp_path / "notes.wav", tmp_path / "empty.wav"
    text.write_text("not a sound", encoding="utf-8")
    empty.touch()
    page = visitor.page
    new_dataset(page, system.url, "with notes", [sounds[0], text, empty, *sounds[1:]])
    expect(page.locator("[data-added='3']")).to_be_visible(timeout=UPLOAD_MS)
    refused = page.locator("[data-result=refused]")
    expect(refused).to_have_count(2)
    expect(refused.filter(has_text="notes.wav is not an audio file")).to_be_visible()
    expect(refused.filter(has_text="empty.wav is empty")).to_be_visible()
    visitor.picture("14-refused")
    assert_accessible(visitor)


@pytest.mark.slow
def test_15_1000_files_finish_with_the_page_responsive(system: System, visitor: Visitor, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path, 1_000, duration_s=0.1, first_seed=10_000)
    page = visitor.page
    page.add_init_script(
        """
        window.frames_ms = [];
        let before = performance.now();
        const frame = (now) => { window.frames_ms.push(now - before); before = now; requestAnimationFrame(frame); };
        requestAnimationFrame(frame);
        """
    )
    began = time.monotonic()
    new_dataset(page, system.url, "a thousand", sounds)
    expect(page.locator("[data-upload=busy]")).to_be_visible()
    page.evaluate("window.frames_ms.length = 0")
    # While they come in, the page is used.
    page.get_by_label("Theme").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("[data-added='1000']")).to_be_visible(timeout=8 * UPLOAD_MS)
    frames = sorted(page.evaluate("window.frames_ms"))
    took_s = time.monotonic() - began
    print(f"1,000 files in {took_s:.0f} s; frames: median {statistics.median(frames):.0f} ms, longest {frames[-1]:.0f}")  # noqa: T201
    assert frames[int(0.99 * len(frames))] < 100 * NOISE
    assert frames[-1] < 500 * NOISE
    assert visitor.complaints == []


def names_in(request: Request) -> list[str]:
    """Names of the files that a request brings."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = cast(list[Message], message_from_bytes(head + (request.post_data_buffer or b"")).get_payload())
    return [str(part.get_filename()) for part in parts]


def test_16_a_network_drop_resends_only_what_is_missing(system: System, visitor: Visitor, tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path, 40, duration_s=0.1, first_seed=20_000)
    page = visitor.page
    arrived, lost = list[str](), list[str]()
    network = {"works": True}

    def pass_or_lose(route: Route) -> None:
        names = names_in(route.request)
        if len(arrived) >= 16:
            network["works"] = network["works"] and bool(lost)
        if network["works"]:
            arrived.extend(names)
            route.continue_()
        else:
            lost.extend(names)
            route.abort("connectionfailed")

    page.route(re.compile("/datasets/[0-9]+/files$"), pass_or_lose)
    new_dataset(page, system.url, "over a bad line", sounds)
    expect(page.get_by_text("The files that are missing are sent again.")).to_be_visible(timeout=UPLOAD_MS)
    assert lost, "the network was gone"
    # The page tries by itself, too: while nothing gets through, the button comes back after every try.
    with page.expect_event("requestfailed", timeout=UPLOAD_MS):
        page.get_by_role("button", name="Try now").click()
    network["works"] = True
    expect(page.locator("[data-added='40']")).to_be_visible(timeout=UPLOAD_MS)
    assert sorted(arrived) == sorted(path.name for path in sounds), "each arrived once"
    expect(page.locator("[data-duplicate]")).to_have_count(0)


def test_17_a_clip_plays_with_the_right_duration(drums: System, visitor: Visitor, tmp_path: Path) -> None:
    drums.add_dataset("one long", write_sounds(tmp_path, 1, duration_s=2.5, first_seed=130))
    page = visitor.page
    page.goto(f"{drums.url}/datasets")
    page.get_by_role("link", name="one long").click()
    page.get_by_role("button", name="Play sound-130.wav").click()
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0.2")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(2.5, abs=0.01)
    expect(page.locator(".player-time")).to_contain_text("/ 2.5 s")
    page.get_by_role("slider", name="Position in sound-130.wav").fill("2")
    page.wait_for_function("() => document.querySelector('audio').currentTime >= 2")
    expect(page.get_by_role("button", name="Play sound-130.wav")).to_be_visible()
    assert visitor.complaints == []
