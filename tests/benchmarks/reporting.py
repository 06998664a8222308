"""What reporting costs the training: processor time of the training thread without events, and with them.

Events go to a real Redis protocol server, through the reporter that the worker uses. Steps with and without take
turns one by one, and `time.thread_time` counts the training thread alone. Recorded steps are twice as far apart as in a
training, so that more of them flush what was collected: what is measured is rather too much.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import torch

from deploy.redis_server import RedisServer
from shared.config import Representation
from shared.lease import Leases
from shared.presets import resolve_train_config
from shared.redis_client import connect
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.measuring import ROUNDS, Figures, Options, Results, faster
from tests.benchmarks.training import Training, ignore_skipped
from worker.reporter import StreamReporter
from worker.spool import Spool
from worker.train.metrics import EpochSums, StepRecorder

REPRESENTATIONS: Final[tuple[Representation, ...]] = ("mel", "mel_if")
PAIRS: Final = {"mel": 40, "mel_if": 12}
"""Steps of each kind in a round."""
SETTLING_STEPS: Final = 2
SECRET: Final = "benchmark"


def measure(options: Options) -> Results:
    """Seconds of processor time for a step; ratio = baseline / ours, at most 1 but for noise."""
    corpus = Corpus(options)
    server = RedisServer(options.folder, log=options.folder / "redis.log")
    server.start()
    try:
        return {
            name: _measure(corpus, name, job_id, options.device, server.url("worker"), folder=options.folder)
            for job_id, name in enumerate(REPRESENTATIONS, start=1)
        }
    finally:
        server.stop()


def _measure(
    corpus: Corpus, representation: Representation, job_id: int, device: str, redis_url: str, *, folder: Path
) -> Figures:
    threads = torch.get_num_threads()
    config = resolve_train_config(file_count=len(corpus.train), representation=representation)
    training = Training(corpus.features(config.features()), config, corpus.train, torch.device(device))
    training.run(SETTLING_STEPS)
    pairs = PAIRS[representation]
    silent: list[float] = []
    reported: list[float] = []
    recording: list[float] = []
    with connect(redis_url) as redis:
        Leases(redis).grant(job_id, 1, "benchmark", SECRET)
    spool = Spool(folder, job_id=job_id, attempt=1, secret=SECRET, worker="benchmark", limit_bytes=1 << 30)
    with StreamReporter(
        redis_url, spool, stream_events=10_000, on_fenced=lambda: None, on_steps=lambda: None
    ) as reporter:
        recorder = StepRecorder(
            reporter,
            training.device,
            total_steps=training.total_steps,
            sums=EpochSums(),
            skipped=0,
            on_skipped=ignore_skipped,
        )
        for _ in range(ROUNDS):
            without = within = events = 0.0
            for _ in range(pairs):
                began_at = time.thread_time()
                training.step()
                stepped_at = time.thread_time()
                row, facts = training.step()
                recorded_at = time.thread_time()
                recorder.add(row, facts)
                ended_at = time.thread_time()
                without += stepped_at - began_at
                within += ended_at - stepped_at
                events += ended_at - recorded_at
            silent.append(without / pairs)
            reported.append(within / pairs)
            recording.append(events / pairs)
    torch.set_num_threads(threads)
    return faster(statistics.median(silent), statistics.median(reported), events_alone_s=statistics.median(recording))
