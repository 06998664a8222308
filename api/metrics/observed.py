"""Counts what happens: events as they come into the record, requests as they are answered.

What a worker did is told by its events, which reach the record exactly once; so nothing here is counted twice, and
what happened while the api was away is counted when it comes in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from api.record.tables import Job
from shared.events import AttemptEnded, CheckpointSaved, Event, StateChanged, StepMetrics, Warned
from shared.jobs import JobState, Outcome

_LAG_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_WAIT_S: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)
_CHECKPOINT_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Observed:
    """What was counted since the api was started, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._lag = Histogram(
            "spectrain_event_lag_seconds",
            "From when an event happened, by its writer's clock, until it was in the record.",
            buckets=_LAG_S,
            registry=registry,
        )
        self._wait = Histogram(
            "spectrain_job_wait_seconds",
            "How long a job was in the queue when it was given to a worker.",
            buckets=_WAIT_S,
            registry=registry,
        )
        self._checkpoint = Histogram(
            "spectrain_checkpoint_seconds",
            "From the wish for a checkpoint until it was durable in the store.",
            buckets=_CHECKPOINT_S,
            registry=registry,
        )
        self._checkpoint_bytes = Counter(
            "spectrain_checkpoint_bytes", "Bytes of checkpoints that were saved.", registry=registry
        )
        self._steps = Counter("spectrain_steps", "Steps of trainings.", registry=registry)
        self._warnings = Counter("spectrain_warnings", "Warnings of jobs, by code.", ["code"], registry=registry)
        self._attempts = Counter(
            "spectrain_attempts_ended", "Attempts that ended, by outcome.", ["outcome"], registry=registry
        )
        self._requests = Summary(
            "spectrain_http_request_seconds",
            "How long requests took to answer, by route; sockets are not among them.",
            ["method", "route", "status"],
            registry=registry,
        )
        # A rate is known from the first one on only where there was a zero before it.
        for outcome in get_args(Outcome):
            self._attempts.labels(outcome)

    def recorded(self, job: Job, events: Sequence[Event]) -> None:
        """New events of `job` are in the record, and its row is as they left it."""
        now = time.time()
        for event in events:
            self._lag.observe(max(0.0, now - event.at))
            match event.body:
                case StepMetrics() as body:
                    self._steps.inc(len(body.step))
                case CheckpointSaved() as body:
                    self._checkpoint.observe(body.seconds)
                    self._checkpoint_bytes.inc(body.size_bytes)
                case AttemptEnded() as body:
                    self._attempts.labels(body.outcome).inc()
                case Warned() as body:
                    self._warnings.labels(body.code).inc()
                case StateChanged(state=JobState.STARTING) if event.attempt == job.attempt and job.assigned_at:
                    self._wait.observe(max(0.0, job.assigned_at - job.queued_at))
                case _:
                    pass

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is its pattern, never the address that was asked for."""
        self._requests.labels(method, route, f"{status // 100}xx").observe(seconds)
