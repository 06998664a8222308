"""Notifications: who is told what and when, once; and that a webhook leads nowhere that it should not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from api.notify.notifier import DELAYS_S, Notifier
from api.notify.targets import Targets
from api.notify.webhook import DeliveryError, is_public, post, signature
from api.record.attempts import record_events
from api.record.rows import find, move
from api.record.tables import Notification
from shared.events import Event, Warned
from shared.jobs import JobState
from tests.receiver import Receiver
from tests.unit.api.conftest import TwinCore
from tests.unit.api.trainings import Jobs

ADDRESS = "/api/v1/notifications"
PRIVATE = (
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1"),
    *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"),
)


@pytest.fixture
def core(tmp_path: Path, record_url: str) -> Iterator[TwinCore]:
    core = TwinCore(tmp_path / "data", database_url=record_url, notify_private=True)
    yield core
    core.database.close()


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int) -> Jobs:
    assert drums == 1
    return Jobs(client, core)


def notifier(core: TwinCore) -> Notifier:
    """One as a restart makes it."""
    return Notifier(core.database, Targets(core.database, private=True))


def end(core: TwinCore, job_id: int, state: JobState, reason: str = "") -> None:
    with core.database.session() as session:
        job = find(session, job_id)
        for between in (JobState.STARTING, JobState.RUNNING, state):
            move(session, job, between, reason=reason)


def hurry(core: TwinCore) -> list[float | None]:
    """Have what waits be due now; when it would have been, in seconds from now."""
    with core.database.session() as session:
        rows = session.scalars(select(Notification)).all()
        waits = [None if row.due_at is None else row.due_at - time.time() for row in rows]
        for row in rows:
            row.due_at = None if row.due_at is None else 0.0
    return waits


def test_who_wants_to_know_is_told_once_and_signed(
    client: FlaskClient, core: TwinCore, jobs: Jobs, receiver: Receiver
) -> None:
    first, second = jobs.submit(name="first")["id"], jobs.submit(name="second")["id"]
    made = client.post(ADDRESS, json={"url": receiver.url}).get_json()
    client.post(ADDRESS, json={"url": f"{receiver.url}&mine", "job": second, "on": ["failed"]})
    end(core, first, JobState.COMPLETED)
    end(core, second, JobState.FAILED, "It ran out of memory.")
    notifier(core).work()
    notifier(core).work()

    told = sorted((path, json.loads(body)["event"], json.loads(body)["job"]["name"]) for path, _, body in receiver.came)
    assert told == [
        ("/hook?a=b", "failed", "second"),
        ("/hook?a=b", "finished", "first"),
        ("/hook?a=b&mine", "failed", "second"),
    ]
    assert {body["message"] for body in receiver.bodies()} == {"", "It ran out of memory."}
    for path, headers, body in receiver.came:
        if path == "/hook?a=b":
            assert headers["X-Spectrain-Signature"] == signature(made["secret"], headers["X-Spectrain-Timestamp"], body)
    assert len({headers["X-Spectrain-Delivery"] for _, headers, _ in receiver.came}) == 3


def test_a_warning_that_needs_a_person_is_told_once_an_attempt(
    client: FlaskClient, core: TwinCore, jobs: Jobs, receiver: Receiver
) -> None:
    job = jobs.submit()
    jobs.save(job, ("1-100", True))
    client.post(ADDRESS, json={"url": receiver.url})
    with core.database.session() as session:
        last = find(session, job["id"]).last_number
        bodies = [
            *(Warned(code="not_a_number", message=f"Step {step} was skipped.") for step in (1, 2)),
            Warned(code="plateau", message="It gets no better."),
        ]
        events = [
            Event(job_id=job["id"], number=last + 1 + index, attempt=1, at=1.0, body=body)
            for index, body in enumerate(bodies)
        ]
        record_events(session, {job["id"]: events})
    notifier(core).work()
    assert [(body["event"], body["message"]) for body in receiver.bodies()] == [("attention", "Step 1 was skipped.")]


def test_what_is_not_taken_is_tried_again_until_it_is(
    client: FlaskClient, core: TwinCore, jobs: Jobs, receiver: Receiver
) -> None:
    client.post(ADDRESS, json={"url": receiver.url})
    end(core, jobs.submit()["id"], JobState.COMPLETED)
    receiver.statuses = [500, 503, 204]
    for wait in DELAYS_S[:2]:
        notifier(core).work()
        assert hurry(core) == [pytest.approx(wait, abs=5)]
        assert client.get(ADDRESS).get_json()["targets"][0]["waiting"] == 1
    notifier(core).work()
    notifier(core).work()
    assert len(receiver.came) == 3
    assert len({headers["X-Spectrain-Delivery"] for _, headers, _ in receiver.came}) == 1
    target = client.get(ADDRESS).get_json()["targets"][0]
    assert (target["waiting"], target["last_error"]) == (0, "")


def test_what_nobody_ever_takes_is_given_up_and_told(
    client: FlaskClient, core: TwinCore, jobs: Jobs, receiver: Receiver
) -> None:
    client.post(ADDRESS, json={"url": receiver.url})
    end(core, jobs.submit()["id"], JobState.COMPLETED)
    receiver.statuses = [500] * 20
    for _ in range(10):
        notifier(core).work()
        hurry(core)
    assert len(receiver.came) == 1 + len(DELAYS_S)
    end(core, jobs.submit()["id"], JobState.COMPLETED)
    receiver.statuses = [410]
    notifier(core).work()
    assert hurry(core) == [None, None], "gone is gone"
    target = client.get(ADDRESS).get_json()["targets"][0]
    assert target == {**target, "waiting": 0, "last_error": "127.0.0.1 answered with status 410."}


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [302]
    with pytest.raises(DeliveryError, match="status 302"):
        post(receiver.url, {}, secret="s", delivery="1", private=True)
    assert [path for path, _, _ in receiver.came] == ["/hook?a=b"]


def test_one_that_answers_for_ever_is_cut_off(receiver: Receiver) -> None:
    receiver.slow = True
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="does not take it"):
        post(receiver.url, {}, secret="s", delivery="1", private=True, whole_s=0.5)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_none_of_the_internet(address: str) -> None:
    assert not is_public(address)


def test_public_ones_are() -> None:
    assert all(map(is_public, ("1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1")))


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"]])
def test_a_name_of_a_private_network_is_not_called(receiver: Receiver, found: list[str]) -> None:
    url = f"http://hook.example:{receiver.port}/"
    with pytest.raises(DeliveryError, match="private network") as refused:
        post(url, {}, secret="s", delivery="1", private=False, look_up=lambda *_: found)
    assert refused.value.for_good
    assert receiver.came == []


def test_what_was_checked_is_what_is_called(receiver: Receiver) -> None:
    """A name server that tells a public address first and a private one then gains nothing: it is asked once."""
    asked = list[str]()

    def rebinding(host: str, port: int) -> list[str]:
        del port
        asked.append(host)
        return ["127.0.0.1"]

    # The checked address is the one connected to, under the name that was typed.
    post(f"http://hook.example:{receiver.port}/x", {}, secret="s", delivery="1", private=True, look_up=rebinding)
    assert asked == ["hook.example"]
    assert receiver.came[0][1]["Host"] == f"hook.example:{receiver.port}"


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http:///x", "https://u:p@h/"),
        *(
            "http://a b/",
            "http://h:99999/",
            "http://h/\r\nX: y",
            "json://127.0.0.1/",
            "dbus://",
            "nonsense",
            "http://[::1",
        ),
    ],
)
def test_addresses_that_are_none_are_refused(client: FlaskClient, url: str) -> None:
    refused = client.post(ADDRESS, json={"url": url})
    assert refused.status_code == 422, refused.text
    assert refused.get_json()["error"].startswith("url: ")


def test_private_webhooks_are_refused_when_they_are_typed(tmp_path: Path, core: TwinCore) -> None:
    from api.notify.views import TargetRequest
    from shared.errors import ConfigError

    assert tmp_path.exists()
    with pytest.raises(ConfigError, match="private network"):
        Targets(core.database, private=False).create(TargetRequest(url="http://localhost:6379/"))


def test_an_address_of_apprise_is_taken_and_its_secrets_stay(client: FlaskClient) -> None:
    made = client.post(ADDRESS, json={"url": "mailto://somebody:secret@mail.example.com"})
    assert made.status_code == 201, made.text
    assert made.get_json()["where"] == "mailto://mail.example.com"
    slack = client.post(ADDRESS, json={"url": "ntfy://topic-that-is-secret"}).get_json()
    assert slack["where"] == "ntfy://…"
    assert "secret" not in client.get(ADDRESS).text
    assert client.delete(f"{ADDRESS}/{slack['id']}").get_json()["targets"][0]["id"] == made.get_json()["id"]
    assert client.delete(f"{ADDRESS}/{slack['id']}").status_code == 404


def test_a_target_is_tried_out(client: FlaskClient, receiver: Receiver) -> None:
    target = client.post(ADDRESS, json={"url": receiver.url}).get_json()["id"]
    assert client.post(f"{ADDRESS}/{target}/test").get_json() == {"delivered": True, "error": ""}
    receiver.statuses = [401]
    answer = client.post(f"{ADDRESS}/{target}/test").get_json()
    assert answer == {"delivered": False, "error": "127.0.0.1 answered with status 401."}
    assert receiver.bodies()[0]["event"] == "test"
