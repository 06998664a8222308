"""Redis users of joined workers on the real server: what each reaches, what it does not, how it ends."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from api.workers.redis_users import RedisUsers, user_name
from deploy.redis_server import RedisServer
from shared.config import FeatureConfig
from shared.event_bus import EventBus
from shared.events import DeviceStatus, WorkerHeartbeat
from shared.jobs import AttemptSpec, DatasetSnapshot, PreprocessSpec, Ticket
from shared.lease import Leases, offer_channel
from shared.redis_client import connect
from shared.tickets import make_celery, send_ticket

PASSWORD = "a password of this test"
SHA256 = hashlib.sha256(PASSWORD.encode()).hexdigest()
LIMIT_S = 30.0


@pytest.fixture
def users(redis_server: RedisServer) -> Iterator[RedisUsers]:
    users = RedisUsers(redis_server.url("keeper"))
    yield users
    for name in users.names():
        users.remove(name)
    users.close()


@pytest.fixture
def joined(redis_server: RedisServer, users: RedisUsers) -> Iterator[Redis]:
    """The worker `studio/cuda:1`, as it is connected."""
    users.admit("studio/cuda:1", SHA256)
    client = connect(url_of(redis_server, "studio/cuda:1"))
    yield client
    client.close()


def url_of(server: RedisServer, worker: str) -> str:
    access = server.access
    return f"redis://{user_name(worker)}:{PASSWORD}@{access.host}:{access.port}/0".replace(" ", "%20")


@pytest.mark.parametrize(
    "command",
    [
        "GET spectrain:for:studio/cuda:10:attempt:5",
        "GET spectrain:for:studio/cuda:attempt:5",
        "GET spectrain:for:studio/cpu:attempt:5",
        "SET spectrain:worker:studio/cpu x",
        "GET spectrain:token:1",
        "BRPOP device.studio/cuda:10 1",
        "LPUSH device.studio/cpu ticket",
        "LPUSH celery task",
        "ACL LIST",
        "ACL SETUSER worker +@all",
        "ACL WHOAMI",
        "CONFIG GET *",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "MONITOR",
        "SHUTDOWN NOSAVE",
        "SCRIPT FLUSH",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "SUBSCRIBE spectrain:other",
        "SUBSCRIBE spectrain:for:studio/cpu",
        "SUBSCRIBE spectrain:for:studio/cuda:10",
        "PUBSUB CHANNELS",
    ],
)
def test_a_joined_worker_reaches_nothing_of_others(joined: Redis, command: str) -> None:
    with pytest.raises(NoPermissionError):
        joined.execute_command(*command.split())


def test_a_joined_worker_can_do_its_work(joined: Redis, redis_server: RedisServer) -> None:
    with connect(redis_server.url("api")) as api:
        snapshot = DatasetSnapshot(dataset_id=1, name="d", version=1, version_hash="0", clips=())
        spec = PreprocessSpec(dataset=snapshot, features=FeatureConfig())
        attempt = AttemptSpec(job_id=90_005, attempt=1, spec=spec, secret="secret")
        Leases(api).offer(attempt, "studio/cuda:1")

    with joined.pubsub() as pubsub:
        pubsub.subscribe(offer_channel("studio/cuda:1"))
        assert pubsub.get_message(timeout=LIMIT_S), "it may hear of its offers"
    ticket = Ticket(job_id=90_005, attempt=1)
    assert Leases(joined).claim(ticket, "studio/cuda:1", 30.0) == ("claimed", attempt)
    EventBus(joined).beat(heartbeat("studio/cuda:1"))


@pytest.mark.parametrize("name", ["a*", "a?", "[ab]", "a\\b", "[^a]", "*"])
def test_a_name_is_never_a_pattern(users: RedisUsers, redis_server: RedisServer, name: str) -> None:
    users.admit(name, SHA256)

    with connect(url_of(redis_server, name)) as client:
        client.set(f"spectrain:worker:{name}", "own")
        for other in ("ab", "b", "a", "b/cpu"):
            with pytest.raises(NoPermissionError):
                client.get(f"spectrain:worker:{other}")


def test_the_keeper_makes_and_removes_users_and_can_do_nothing_else(redis_server: RedisServer) -> None:
    with connect(redis_server.url("keeper")) as keeper:
        for command in ("GET spectrain:x", "CONFIG GET *", "ACL LIST", "ACL SAVE", "KEYS *", "SHUTDOWN", "FLUSHALL"):
            with pytest.raises(NoPermissionError):
                keeper.execute_command(*command.split())


def test_a_removed_user_is_cut_off_at_once(joined: Redis, users: RedisUsers) -> None:
    assert joined.ping()
    with joined.pubsub() as listening:
        listening.subscribe("spectrain:workers")
        assert listening.get_message(timeout=5.0)

        users.remove(user_name("studio/cuda:1"))

        with pytest.raises(RedisError):
            joined.get("spectrain:worker:studio/cuda:1")
        with pytest.raises(RedisError):
            listening.get_message(timeout=5.0)
    with pytest.raises(AuthenticationError):
        joined.ping()


def test_asking_again_keeps_connections_and_another_password_ends_them(joined: Redis, users: RedisUsers) -> None:
    connection = joined.client_id()
    users.admit("studio/cuda:1", SHA256)
    assert joined.client_id() == connection

    users.admit("studio/cuda:1", "0" * 64)

    with pytest.raises(RedisError):
        joined.ping()


@pytest.mark.usefixtures("joined")
def test_celery_takes_a_ticket_and_answers_with_that_user_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    """Over a restart of its Redis connection too: the user is cut off and made again."""
    worker = "studio/cuda:1"
    with (tmp_path / "celery.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", CELERY_WORKER, url_of(redis_server, worker), worker],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        app = make_celery(redis_server.url("api"))
        send_ticket(app, worker, Ticket(job_id=7, attempt=1))
        assert process.stdout.readline().strip() == "7 1", (tmp_path / "celery.log").read_text()
        assert app.control.ping([f"spectrain@{worker}"], timeout=LIMIT_S, limit=1)
        keeper = RedisUsers(redis_server.url("keeper"))

        keeper.remove(user_name(worker))
        keeper.admit(worker, SHA256)
        keeper.close()
        send_ticket(app, worker, Ticket(job_id=8, attempt=1))

        assert process.stdout.readline().strip() == "8 1", (tmp_path / "celery.log").read_text()
        app.close()
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)
    assert "No permissions" not in (tmp_path / "celery.log").read_text()


CELERY_WORKER = """
import sys
from shared.tickets import RUN_TASK, device_queue, make_celery
url, name = sys.argv[1:]
app = make_celery(url)

def run(job_id, attempt):
    sys.stdout.write(f"{job_id} {attempt}\\n")
    sys.stdout.flush()

app.task(name=RUN_TASK)(run)
app.Worker(
    hostname=f"spectrain@{name}", pool="threads", concurrency=1, queues=[device_queue(name)],
    loglevel="INFO", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True,
).start()
"""


def heartbeat(name: str) -> WorkerHeartbeat:
    now = time.time()
    return WorkerHeartbeat(
        name=name, host="studio", pid=1, device=DeviceStatus(name="cpu"), state="idle", started_at=now, at=now
    )
