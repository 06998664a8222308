"""Limits of an attempt, on real child processes; the lease is a stand-in that is away when told."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from io import StringIO
from typing import Any, cast

import pytest
from typing_extensions import override

from shared.config import FeatureConfig
from shared.devices import Device
from shared.jobs import AttemptSpec, Clip, DatasetSnapshot, PreprocessSpec
from shared.settings import Settings
from tests.logging_here import configured_logs
from worker.lease_keeper import LeaseKeeper
from worker.trainer_process import TrainerProcess
from worker.watch import WakingClock, Watch, in_words

OBEDIENT = """
import json, os, sys
report = os.fdopen(int(sys.argv[2]), "w")
for line in sys.stdin:
    message = json.loads(line)
    if "attempt" in message:
        report.write('{"beat": "steps"}\\n'); report.flush()
    if "wish" in message:
        report.write(json.dumps({"result": {"outcome": "paused", "reason": message["wish"]}}) + "\\n"); report.flush()
        break
"""
UNREADING = "import time; time.sleep(30)"
TRAVELLING = """
import os, sys, time
while True:
    os.write(int(sys.argv[2]), b'{"beat": "steps"}\\n')
    time.sleep(0.01)
"""
DEAF = 'import os, sys, time; os.write(int(sys.argv[2]), b\'{"beat": "steps"}\\n\'); time.sleep(600)'


class Keeper:
    """What a lease keeper found out."""

    def __init__(self, *, away: bool = False, lost: bool = False, wish: str = "none") -> None:
        self.away, self.lost, self.wish = away, lost, wish


def follow(
    program: str, keeper: Keeper | None = None, *, stopping: bool = False, clips: int = 0, **limits: Any
) -> tuple[Watch, int]:
    clip = Clip(
        sha256="0" * 64, name="a.wav", num_samples=1, sample_rate=44_100, channels=1, format="WAV PCM_16", size_bytes=46
    )
    snapshot = DatasetSnapshot(dataset_id=1, name="d", version=1, version_hash="0", clips=(clip,) * clips)
    spec = PreprocessSpec(dataset=snapshot, features=FeatureConfig())
    attempt = AttemptSpec(
        job_id=1, attempt=1, spec=spec, elapsed_s=7_199.0, time_left_s=limits.pop("time_left_s", None)
    )
    settings = Settings().model_copy(update={"grace_s": 1.0, **limits})
    trainer = TrainerProcess(device=Device(kind="cpu"), environment={}, program=("-c", program))
    stop = threading.Event()
    if stopping:
        stop.set()
    watch = Watch(attempt, trainer, cast(LeaseKeeper, keeper or Keeper()), settings=settings, stopping=stop)
    trainer.begin(attempt)
    return watch, watch.follow()


def test_a_trainer_at_its_time_limit_is_paused() -> None:
    watch, status = follow(OBEDIENT, time_left_s=1.0)
    assert (watch.wish, status) == ("pause", 0)
    assert watch.why == "Its time limit of 2 h is reached."


def test_a_trainer_without_redis_is_paused_in_the_end() -> None:
    watch, status = follow(OBEDIENT, Keeper(away=True), redis_away_s=1.0)
    assert (watch.wish, status) == ("pause", 0)
    assert watch.why == "Redis could not be reached for 1 s."


def test_a_worker_that_stops_has_its_trainer_save() -> None:
    watch, status = follow(OBEDIENT, stopping=True)
    assert (watch.wish, watch.why, status) == ("shutdown", "", 0)


@pytest.mark.parametrize(
    ("keeper", "stopping", "because"),
    [
        (Keeper(), False, "made no progress for 1 s, so it was stopped"),
        (Keeper(), True, "had not begun, so it was stopped at once"),
        (Keeper(wish="cancel"), False, "had not begun, so it was stopped at once"),
    ],
    ids=["stalled", "the worker stops", "cancelled"],
)
def test_a_trainer_that_does_not_even_read_what_it_shall_do_is_killed(
    keeper: Keeper, stopping: bool, because: str
) -> None:
    # More clips than a pipe holds.
    watch, status = follow(UNREADING, keeper, stopping=stopping, clips=2_000, setup_stall_s=1.0)
    assert (watch.killed_because, status) == (because, -signal.SIGKILL)


def test_a_trainer_that_was_gone_before_it_was_told_what_to_do_ends_as_any_other() -> None:
    trainer = TrainerProcess(device=Device(kind="cpu"), environment={}, program=("-c", "raise SystemExit(3)"))
    while trainer.exit_status is None:
        trainer.changed.wait(0.1)
    trainer.ask("shutdown")
    assert trainer.join() == 3


def test_what_a_trainer_writes_becomes_lines_of_the_log() -> None:
    program = """print('{"event": "its.own"}'); print("corrupted size vs. prev_size")"""
    with configured_logs() as written:
        trainer = TrainerProcess(device=Device(kind="cpu"), environment={}, program=("-c", program))
        assert trainer.join() == 0
    own, foreign = (json.loads(line) for line in written.getvalue().splitlines())
    assert own == {"event": "its.own"}
    assert (foreign["event"], foreign["text"]) == ("trainer.output", "corrupted size vs. prev_size")
    assert trainer.tail.endswith("\ncorrupted size vs. prev_size\n")


def test_a_trainer_writes_on_while_nobody_can_keep_what_it_writes() -> None:
    class FullDisk(StringIO):
        @override
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    program = "for index in range(20_000): print('line', index)"
    with configured_logs(stream=FullDisk()):
        trainer = TrainerProcess(device=Device(kind="cpu"), environment={}, program=("-c", program))
        assert trainer.join() == 0
    assert trainer.tail.endswith("line 19999\n")


def test_a_trainer_that_makes_no_progress_is_killed() -> None:
    watch, status = follow(DEAF, stall_s=1.0)
    assert status == -signal.SIGKILL
    assert watch.killed_because == "made no progress for 1 s, so it was stopped"


@pytest.mark.parametrize("wish", ["cancel", "pause", "hand_back"])
def test_a_trainer_that_does_not_stop_is_killed_after_its_grace(wish: str) -> None:
    watch, status = follow(DEAF, Keeper(wish=wish))
    assert (watch.wish, status) == (wish, -signal.SIGKILL)
    assert watch.killed_because == "did not save within 1 s, so it was stopped"


def test_a_trainer_that_makes_progress_has_longer_but_not_for_ever() -> None:
    watch, status = follow(TRAVELLING, stopping=True, grace_s=0.2)
    assert (watch.wish, status) == ("shutdown", -signal.SIGKILL)
    assert watch.elapsed_s > 2 * 0.2


def test_a_trainer_whose_job_went_to_a_newer_attempt_is_killed() -> None:
    watch, status = follow(DEAF, Keeper(lost=True))
    assert (watch.killed_because, status) == ("", -signal.SIGKILL)


def test_the_clock_stands_still_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = WakingClock()
    now += 0.25
    assert clock.tick() == pytest.approx(0.25)
    now += 600.0
    assert clock.tick() < 5.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (600, "10 min"), (7_200, "2 h"), (5_400, "1 h 30 min"), (60, "1 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
