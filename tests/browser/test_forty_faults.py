"""Of the forty checks those where something ends or is lost: workers, the api, Redis; and the one command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy.redis_server import RedisServer
from shared.redis_client import connect
from tests.browser.conftest import Visitor
from tests.browser.looks import assert_accessible
from tests.browser.test_charts import NOISE, wait_for_points
from tests.browser.told import Told, block, falling
from tests.conftest import running_redis
from tests.sounds import write_sounds
from tests.system import LONG, ROOT, SMALL, System, event_of, free_port

ENDLESS: dict[str, Any] = {**SMALL, "epochs": LONG, "expansion": 200, "checkpoint_every_s": 1.0}
LEASE_S = 3
REAPER_S = 8
"""On top of the lease until a lost attempt is taken back."""
SILENT_MS = 40_000
"""Until a worker that fell silent counts as offline."""
STARTING_MS = 60_000


@pytest.fixture(scope="module")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, redis_binary: Path, owner_password: str
) -> Iterator[RedisServer]:
    """A server of these tests' own, which they stop."""
    with running_redis(tmp_path_factory.mktemp("redis"), redis_binary, owner_password) as server:
        yield server


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("faults")
    with System(folder / "data", redis_server.url("api"), lease_s=str(LEASE_S)) as system:
        system.start_api()
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        yield system


def test_01_one_command_page_opens_no_console_error(visitor: Visitor, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "deploy.cli", "up", "--data", str(tmp_path / "data"), "--port", str(port)]
    with (tmp_path / "up.log").open("wb") as log:
        launched = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, launched)
        page = visitor.page
        page.goto(url)
        expect(page.get_by_role("heading", name="Queue", exact=True)).to_be_visible()
        expect(page.locator(".dot")).to_have_attribute("data-connected", "true")
        page.goto(f"{url}/workers")
        expect(page.locator("[data-worker]")).to_contain_text("Idle", timeout=STARTING_MS)
        assert visitor.complaints == []
    finally:
        launched.send_signal(signal.SIGINT)
        status = launched.wait(60)
    assert status == 0, (tmp_path / "up.log").read_text(encoding="utf-8")


def wait_until_ready(url: str, launched: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    # Nothing tells when a port opens.
    while True:
        assert launched.poll() is None
        assert time.monotonic() < deadline
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5.0).is_success:
                return
        time.sleep(0.1)


def test_34_a_new_worker_appears_within_5_s_a_lost_one_shows_offline(system: System, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{system.url}/workers")
    expect(page.locator(".dot")).to_have_attribute("data-connected", "true")
    began = time.monotonic()
    system.begin_worker("studio")
    card = page.locator("[data-worker=studio]")
    expect(card).to_be_visible(timeout=5_000 * NOISE)
    print(f"a new worker is on the page {time.monotonic() - began:.1f} s after its process was started")  # noqa: T201
    expect(card).to_contain_text("Idle")
    system.kill("studio")
    expect(card).to_contain_text("Offline", timeout=SILENT_MS)
    visitor.picture("34-offline")
    assert_accessible(visitor)
    assert visitor.complaints == []


def test_08_kill_9_of_the_worker_shows_within_the_lease_time_and_the_job_goes_on_elsewhere(
    system: System, visitor: Visitor
) -> None:
    system.start_worker("attic")
    job_id = system.train("kicks", **ENDLESS)
    system.wait_event(job_id, event_of(1, "checkpoint"))
    system.start_worker("cellar")
    page = visitor.page
    # The header says it until the job runs elsewhere, which may be at once; the log keeps it.
    page.goto(f"{system.url}/jobs/{job_id}?tab=log")
    expect(page.locator(".badge[data-state=running]").first).to_be_visible()
    told = page.get_by_role("main").get_by_text("attic went silent")
    expect(told).to_have_count(0)
    system.kill_group("attic")
    expect(told.first).to_be_visible(timeout=(LEASE_S + REAPER_S) * 1_000 * NOISE)
    expect(page.locator(".job-header .facts")).to_contain_text("cellar", timeout=STARTING_MS)
    expect(page.locator(".badge[data-state=running]").first).to_be_visible(timeout=STARTING_MS)
    first = system.wait_event(job_id, event_of(2, "steps"))["body"]["step"][0]
    before = [event["body"]["step"] for event in system.events(job_id, "steps") if event["attempt"] == 1]
    assert 1 < first <= before[-1][-1] + 1, "it goes on from its checkpoint"
    visitor.picture("08-elsewhere")
    assert_accessible(visitor)
    assert visitor.complaints == []
    system.post(f"/jobs/{job_id}/cancel")
    system.wait_job(job_id, "cancelled")
    system.kill("cellar")


def history(page: Page, system: System, job_id: int, points: int) -> dict[str, Any]:
    """What the page shows of a job's past, once it shows all of it."""
    page.goto(f"{system.url}/jobs/{job_id}")
    wait_for_points(page, points)
    readout = page.locator("[data-chart=loss] .readout").inner_text()
    page.goto(f"{system.url}/jobs/{job_id}?tab=log")
    expect(page.locator(".log-row").first).to_be_visible()
    lines = page.locator(".log-row").all_inner_texts()
    page.goto(f"{system.url}/")
    expect(page.locator(f"[data-job='{job_id}']")).to_be_visible()
    expect(page.locator("[data-job]")).to_have_count(len(system.get("/jobs")["jobs"]))
    return {"readout": readout, "lines": lines, "jobs": page.locator("[data-job]").count()}


def test_12_restarting_api_and_redis_loses_no_history(
    system: System, redis_server: RedisServer, visitor: Visitor
) -> None:
    with connect(redis_server.url("api")) as redis:
        told = Told(system, redis, name="of the past", dataset="kicks")
        told.steps(1, 2_000, size=100)
        told.epochs(1, 2)
    page = visitor.page
    before = history(page, system, told.id, 2_000)
    system.stop("api")
    redis_server.stop()
    redis_server.start()
    system.start_api()
    assert history(page, system, told.id, 2_000) == before
    visitor.picture("12-after")


def test_38_stopping_the_server_shows_the_banner_its_return_clears_it_no_gap_in_the_chart(
    system: System, redis_server: RedisServer, visitor: Visitor
) -> None:
    with connect(redis_server.url("api")) as redis:
        told = Told(system, redis, name="meanwhile", dataset="kicks")
        told.steps(1, 200, size=20)
        page = visitor.page
        page.goto(f"{system.url}/jobs/{told.id}")
        wait_for_points(page, 200)
        system.stop("api")
        banner = page.get_by_role("status").filter(has_text="Connection lost")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text(re.compile("Last update (just now|[0-9]+ s ago)"))
        visitor.picture("38-banner")
        assert_accessible(visitor)
        # The trainer goes on, and tells what it does.
        told.tell([block(first, first + 19, falling) for first in range(201, 301, 20)])
        system.start_api()
        expect(banner).to_have_count(0)
        told.steps(301, 400, size=20)
    page.wait_for_function("() => document.querySelector('[data-chart=loss]').dataset.points === '400'")
    assert system.get(f"/jobs/{told.id}/history")["step"] == list(range(1, 401))
    complaints = [one for one in visitor.complaints if "WebSocket" not in one and "Failed to load" not in one]
    assert complaints == []
