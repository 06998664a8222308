"""Pictures of every page in each state and theme: `python -m tests.browser.gallery FOLDER`.

Starts an api with data of all kinds (told trainings, jobs in each state that needs no worker, datasets with findings),
then a worker for jobs that run, completed and failed, at last a server that wants a login. Looks at all that in a
desktop window and on a phone, light and dark, and writes `<page>-<state>-<window>-<theme>.png` and an index.html that
shows all of them side by side.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from api.access.first import first_admin
from deploy.redis_server import find_binary
from shared.events import Warned
from shared.redis_client import connect
from shared.settings import Settings
from tests.browser.told import Told
from tests.conftest import find_chromium, running_redis
from tests.sounds import make_sound, write_sounds
from tests.system import LONG, SMALL, System, event_of

WINDOWS = {"desktop": (1280, 900), "phone": (375, 812)}
THEMES = ("light", "dark")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
RATE_HZ = 48_000
SETTLED_MS = 3_000
EVERYWHERE = "0.0.0.0"

EMPTY: Mapping[str, str] = {
    "queue-empty": "/",
    "datasets-empty": "/datasets",
    "new-job-empty": "/new",
    "workers-empty": "/workers",
    "compare-empty": "/compare",
    "models-empty": "/models",
    "nothing-here": "/nowhere",
}


def main() -> int:
    """Write the gallery; returns the exit code."""
    parser = argparse.ArgumentParser(description="Take a picture of every page in each state and theme.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, open_browser() as browser:
        data = Path(scratch)
        with (
            running_redis(data / "redis", find_binary(), "gallery") as server,
            System(data / "data", server.url("api")) as system,
        ):
            system.start_api()
            take(browser, system.url, EMPTY, folder)
            take(browser, system.url, fill(system, server.url("api"), data), folder)
            take(browser, system.url, work(system, data), folder)
        settings = Settings(data=data / "lab", host=EVERYWHERE)
        with (
            running_redis(data / "lab-redis", find_binary(), "gallery") as server,
            System(settings.data, server.url("api"), host=EVERYWHERE) as lab,
        ):
            lab.show(first_admin(settings))
            lab.start_api()
            take(browser, lab.url, {"login": "/login"}, folder)
    write_index(folder)
    sys.stdout.write(f"{folder / 'index.html'}\n")
    return 0


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The Chromium of the browser tests."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("No Chromium was found: install it (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


def fill(system: System, redis_url: str, folder: Path) -> Mapping[str, str]:
    """Something of every kind; returns the pages that show it, by the names of their pictures."""
    sounds = write_sounds(folder / "drums", 24)
    system.add_dataset("drums", [*sounds, *odd_sounds(folder / "odd")])
    long = write_sounds(folder / "long", 3, duration_s=8.0, first_seed=60)
    system.add_dataset("voices", long)
    with connect(redis_url) as redis:
        trainings = [Told(system, redis, name=name, dataset="drums") for name in ("warm kicks", "cold kicks")]
        for place, told in enumerate(trainings):
            told.counts()
            told.steps(1, 6_000, loss=lambda step, height=place: 0.4 + height / 4 + 3 / (1 + step / 400))
            told.epochs(1, 6)
            for epoch in (2, 4, 6):
                told.preview(epoch, long[epoch % 3], original=long[0], sample=long[1])
        warned = Warned(
            code="overfitting", message="It begins to memorise its sounds.", advice="Stop soon.", step=5_000
        )
        trainings[0].tell([warned])
    body = {"kind": "train", "dataset": "drums", "changes": SMALL}
    waiting = [
        system.post("/jobs", {**body, "name": f"waiting {number}", "priority": "high"})["id"] for number in (1, 2)
    ]
    system.post("/jobs", {**body, "name": "after both", "after": waiting})
    cancelled = system.post("/jobs", {**body, "name": "not wanted"})["id"]
    system.post(f"/jobs/{cancelled}/cancel")
    job, other = (told.id for told in trainings)
    tabs = {f"job-{tab}": f"/jobs/{job}?tab={tab}" for tab in ("charts", "previews", "checkpoints", "log", "config")}
    return {
        "queue-full": "/",
        "queue-filtered-away": "/?q=nobody",
        "datasets-full": "/datasets",
        "dataset-findings": "/datasets/1",
        "new-job-full": "/new?dataset=1&kind=train",
        "new-job-duplicate": f"/new?from={job}",
        "edit-job": f"/jobs/{waiting[0]}/edit",
        "workers-none": "/workers",
        "compare-two": f"/compare?jobs={job},{other}",
        "models-filtered": "/models?kept=pinned",
        "job-missing": "/jobs/9999",
        "job-cancelled": f"/jobs/{cancelled}",
        **tabs,
    }


def settle(page: Page) -> None:
    """Until everything has come; what is at work never rests."""
    with suppress(PlaywrightTimeoutError):
        page.wait_for_load_state("networkidle", timeout=SETTLED_MS)


def odd_sounds(folder: Path) -> list[Path]:
    """Sounds with something to say about each: silent, cut off, mostly silence, the same in two files."""
    folder.mkdir()
    sound = make_sound(99)
    exact = (20_000 * sound).astype(np.int16)
    odd = {
        "silence.wav": np.zeros(RATE_HZ),
        "cut-off.wav": np.clip(8 * sound, -1, 1),
        "late.wav": np.concatenate([np.zeros(2 * RATE_HZ), sound]),
        "twin.wav": exact,
        "twin.flac": exact,
    }
    for name, samples in odd.items():
        soundfile.write(folder / name, samples, RATE_HZ)
    return [folder / name for name in odd]


def take(browser: Browser, url: str, pages: Mapping[str, str], folder: Path) -> None:
    """A picture of each page in each window and theme."""
    for window, (width, height) in WINDOWS.items():
        for theme in THEMES:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
            )
            page = context.new_page()
            for name, path in pages.items():
                page.goto(url + path)
                page.get_by_role("heading", level=1).wait_for()
                settle(page)
                # What is far below the window is not drawn until somebody gets there: have a window that shows it all.
                tall = page.evaluate("document.documentElement.scrollHeight")
                page.set_viewport_size({"width": width, "height": max(height, tall)})
                settle(page)
                page.screenshot(path=folder / f"{name}-{window}-{theme}.png", full_page=True)
                page.set_viewport_size({"width": width, "height": height})
            context.close()


def work(system: System, folder: Path) -> Mapping[str, str]:
    """A worker, and jobs that run, completed and failed; returns the pages that show them."""
    for job in system.get("/jobs")["jobs"]:
        if job["state"] in ("queued", "held"):
            system.post(f"/jobs/{job['id']}/cancel")
    gone = write_sounds(folder / "gone", 2, first_seed=80)
    system.add_dataset("gone", gone)
    for path in gone:
        (system.data / "store" / "clips" / hashlib.sha256(path.read_bytes()).hexdigest()).unlink()
    system.start_worker("studio")
    completed = system.train("voices", **{**SMALL, "epochs": 6, "preview_every": 3})
    failed = system.train("gone", **SMALL)
    running = system.train("drums", **{**SMALL, "epochs": LONG})
    system.wait_job(completed, "completed")
    system.wait_job(failed, "failed")
    system.wait_event(running, event_of(1, "checkpoint"))
    tabs = {f"running-{tab}": f"/jobs/{running}?tab={tab}" for tab in ("charts", "checkpoints", "log")}
    return {
        "queue-running": "/",
        "workers-busy": "/workers",
        "models-full": "/models",
        "job-completed": f"/jobs/{completed}",
        "job-completed-previews": f"/jobs/{completed}?tab=previews",
        "job-failed": f"/jobs/{failed}",
        **tabs,
    }


def write_index(folder: Path) -> None:
    """A page with all pictures, to be looked through in a minute."""
    pictures = "".join(
        f'<figure><a href="{name}"><img loading="lazy" src="{name}"></a><figcaption>{name}</figcaption></figure>'
        for name in (html.escape(path.name) for path in sorted(folder.glob("*.png")))
    )
    style = "body{display:flex;flex-wrap:wrap;gap:1rem;font:13px sans-serif}figure{margin:0}img{height:420px}"
    (folder / "index.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>Gallery</title><style>{style}</style>{pictures}", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
