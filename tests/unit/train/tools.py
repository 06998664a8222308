"""A training in miniature, and in-memory twins of what surrounds an attempt."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from typing_extensions import override

from shared.config import Representation, SpectrogramConfig, TrainConfig
from shared.events import CheckpointReason, EventBody, StepMetrics
from shared.jobs import AttemptSpec, DatasetSnapshot, StartPoint, TrainSpec
from shared.model_file import ModelDescription
from shared.storage import FolderStorage, Storage
from shared.vae.scaling import FeatureScaling
from tests.sounds import store_dataset, write_sounds
from worker.attempt import AttemptResult, Control, Reporter, Wish
from worker.train import metrics, run_training
from worker.train.checkpoint import Snapshot
from worker.train.host_copy import Claim
from worker.train.plan import ExecutionPlan, keep_job_plan

Body = TypeVar("Body")

TINY_SPECTROGRAM = SpectrogramConfig(sample_rate=16_000, n_fft=512, hop_length=128, n_mels=32)


class Surroundings(Reporter, Control):
    """Keeps every event, and wishes something once a step was reported (flushes must not be delayed)."""

    def __init__(self, *, stop_at: int | None = None, wish: Wish = "cancel") -> None:
        self.events: list[EventBody] = []
        self.beats = 0
        self.step = 0
        self.saves_at: set[int] = set()
        self.previews_at: set[int] = set()
        self._stop_at = stop_at
        self._wish: Wish = wish

    @override
    def publish(self, body: EventBody) -> None:
        self.events.append(body)
        if isinstance(body, StepMetrics):
            self.step = body.step[-1]

    @override
    def wish(self) -> Wish:
        return self._wish if self._stop_at is not None and self.step >= self._stop_at else "none"

    @override
    def take_save(self) -> bool:
        return self._take(self.saves_at)

    @override
    def take_preview(self) -> bool:
        return self._take(self.previews_at)

    @override
    def beat(self) -> None:
        self.beats += 1

    def of(self, kind: type[Body]) -> list[Body]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def _take(self, steps: set[int]) -> bool:
        asked = self.step in steps
        steps.discard(self.step)
        return asked


def tiny_config(representation: Representation = "mel", **changes: Any) -> TrainConfig:
    """Seconds of training, with everything that draws random numbers switched on."""
    values: dict[str, Any] = {
        "representation": representation,
        "spectrogram": TINY_SPECTROGRAM,
        "chunk_s": 0.25,
        "latent_dim": 4,
        "epochs": 3,
        "expansion": 2,
        "dropout": 0.1,
        "speeds": (1.0, 0.9, 1.2),
        "validation_fraction": 0.3,
        "preview_every": 0,
        "preview_clips": 1,
        "checkpoint_every_s": 86_400.0,
        **changes,
    }
    return TrainConfig(**values)


def snapshot(
    step: int,
    *,
    attempt: int = 1,
    reason: CheckpointReason = "interval",
    best: bool = False,
    repeat: int = 0,
    model: dict[str, torch.Tensor] | None = None,
    claim: Claim | None = None,
) -> Snapshot:
    """A very small training at `step`."""
    config = tiny_config()
    return Snapshot(
        attempt=attempt,
        epoch=1,
        step=step,
        reason=reason,
        best=best,
        config=config,
        dataset_version="0" * 64,
        loss=0.5,
        val_reconstruction=None,
        device="cpu",
        versions={"torch": torch.__version__},
        model=model or {"weight": torch.full((3,), float(step)), "count": torch.tensor(7)},
        description=ModelDescription(
            model=config.model(), features=config.features(), scaling=FeatureScaling.identity(1).to_json()
        ),
        state={"position": {"step": step}, "generator": torch.get_rng_state(), "pair": (1, 2.5), "nothing": None},
        wished_at=0.0,
        repeat=repeat,
        claim=claim,
    )


def make_dataset(storage: Storage, folder: Path, count: int = 6) -> DatasetSnapshot:
    """`count` synthesised sounds, stored as their clips."""
    return store_dataset(storage, write_sounds(folder, count), name_of=lambda path: path.name)


@contextmanager
def one_thread_and_no_delay(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Steps are reported at once, so that a test can stop at any of them, and computed by one thread."""
    monkeypatch.setattr(metrics, "FLUSH_EVERY_S", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Bench:
    """Runs attempts of jobs over one dataset in a folder, on the CPU, under a fixed `plan`; None chooses one."""

    def __init__(self, folder: Path, *, files: int = 6, plan: ExecutionPlan | None = None) -> None:
        self.folder = folder
        self.storage = FolderStorage(folder / "store")
        self.dataset = make_dataset(self.storage, folder / "sounds", files)
        self.plan: ExecutionPlan | None = ExecutionPlan() if plan is None else plan

    def attempt(
        self,
        config: TrainConfig,
        *,
        job_id: int = 1,
        attempt: int = 1,
        start: StartPoint | None = None,
        **values: Any,
    ) -> AttemptSpec:
        """The specification of an attempt."""
        spec = TrainSpec(dataset=self.dataset, train=config, start=start)
        return AttemptSpec(job_id=job_id, attempt=attempt, spec=spec, **values)

    def train(self, attempt: AttemptSpec, surroundings: Surroundings) -> AttemptResult:
        """Run it."""
        import torch

        if attempt.attempt == 1 and self.plan is not None:
            keep_job_plan(self.storage, attempt.job_id, torch.device("cpu"), self.plan)
        return run_training(
            attempt,
            storage=self.storage,
            device="cpu",
            cache=self.folder / "cache",
            reporter=surroundings,
            control=surroundings,
        )
