"""Setting a training up: from an attempt's specification to everything that its loop works with."""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.audio.representation import RepresentationTransform, make_representation
from shared.config import TrainConfig
from shared.errors import CheckpointError, TrainingError
from shared.events import CheckpointReason, LogLine, Number, Progress, finite
from shared.jobs import AttemptSpec, Clip, DatasetSnapshot, TrainSpec
from shared.model_file import ModelDescription
from shared.planning import BatchRule, Split, split_files
from shared.storage import Storage
from shared.vae.scaling import FeatureScaling
from shared.version import VERSION
from worker.attempt import Control, Reporter
from worker.preprocess.make import unique_clips
from worker.train.checkpoint import (
    CheckpointStore,
    LoadedCheckpoint,
    Snapshot,
    check_compatible,
    checkpoint_name,
)
from worker.train.data import ChunkGrid, TrainingData
from worker.train.determinism import compute_deterministically
from worker.train.host_copy import HostCopies
from worker.train.learner import Learner
from worker.train.metrics import EpochSums
from worker.train.obtaining import choose_checkpoint, obtain_features, obtain_plan, send_unsent
from worker.train.plan import ExecutionPlan, PlanCache
from worker.train.process import give_back_freed_memory, keep_freed_memory
from worker.train.rng import generator_states, restore_generators, seed_generators
from worker.train.start import (
    begin_with_principal_components,
    components_message,
    read_start_weights,
    start_message,
)
from worker.train.unsent import UnsentCheckpoints
from worker.train.warnings import Warnings


@dataclass(kw_only=True)
class Position:
    """Where a training is. A checkpoint keeps it."""

    step: int = 0
    """Steps done."""
    epoch: int = 0
    """Epochs finished, their evaluation included."""
    index: int = 0
    """Batches of the current epoch that are done."""
    best_value: float = math.inf
    """Lowest reconstruction error of the held-out files."""
    best_epoch: int = 0
    """Epoch of it, counted from 1; 0 before the first."""
    best_checkpoint: str | None = None
    """Name of the checkpoint that holds it."""
    val_reconstruction: Number = None
    """Of the newest finished epoch."""


@dataclass(kw_only=True)
class Session:
    """What the loop works with."""

    attempt: int
    job_id: int
    config: TrainConfig
    dataset: DatasetSnapshot
    device: torch.device
    plan: ExecutionPlan
    representation: RepresentationTransform
    data: TrainingData
    split: Split
    clips: dict[str, Clip]
    """By their hash."""
    train_grid: ChunkGrid
    validation_grid: ChunkGrid | None
    batches: BatchRule
    scaling: FeatureScaling
    learner: Learner
    store: CheckpointStore
    unsent: UnsentCheckpoints | None
    copies: HostCopies
    warnings: Warnings
    position: Position = field(default_factory=Position)
    sums: EpochSums = field(default_factory=EpochSums)
    resumed_from: str | None = None
    """Checkpoint that it went on from."""
    snapshot_step: int = -1
    """Step of the newest snapshot of this attempt."""
    repeats: int = 0
    """How many snapshots of that step came before it."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.batches.steps

    def preview_clips(self) -> list[Clip]:
        """Clips in the order in which previews prefer them: held-out ones first."""
        return [self.clips[name] for name in (*self.split.validation, *self.split.train)]

    def snapshot(self, reason: CheckpointReason, sums: EpochSums, *, best: bool) -> Snapshot:
        """A copy of everything as it is now."""
        wished_at = time.monotonic()
        position, learner = self.position, self.learner
        models = {"result": learner.result} | ({} if learner.average is None else {"newest": learner.model})
        moving, steady, claim = self.copies.copy(
            {
                "buffers": {name: _buffers(model) for name, model in models.items()},
                "skipped": {"all": learner.skipped, "in_a_row": learner.skipped_in_a_row},
            },
            {
                "weights": {name: dict(model.named_parameters()) for name, model in models.items()},
                "optimizer": learner.optimizer.state(),
            },
        )
        copied = {name: {**steady["weights"][name], **moving["buffers"][name]} for name in models}
        repeat = self.repeats + 1 if position.step == self.snapshot_step else 0
        self.repeats, self.snapshot_step = repeat, position.step
        if best:
            position.best_checkpoint = checkpoint_name(self.attempt, position.step, repeat)
        return Snapshot(
            attempt=self.attempt,
            epoch=min(self.config.epochs, max(1, -(-position.step // self.batches.steps))),
            step=position.step,
            reason=reason,
            best=best,
            config=self.config,
            dataset_version=self.dataset.version_hash,
            loss=finite(sums.last_loss),
            val_reconstruction=position.val_reconstruction,
            device=self.device.type,
            versions=versions(self.device),
            model=copied["result"],
            description=ModelDescription(
                model=self.config.model(), features=self.config.features(), scaling=self.scaling.to_json()
            ),
            state={
                "newest": copied.get("newest"),
                "optimizer": steady["optimizer"],
                "generators": generator_states(self.device),
                "skipped": moving["skipped"],
                "objective": {},  # every objective's optimum is analytic: none learns values of its own
                "position": vars(position).copy(),
                "sums": sums.to_state(),
                "said": sorted(self.warnings.said),
            },
            wished_at=wished_at,
            repeat=repeat,
            claim=claim,
        )

    def restore(self, loaded: LoadedCheckpoint) -> None:
        """Continue exactly where `loaded` was saved; raises CheckpointError where the model is another one."""
        state: dict[str, Any] = loaded.state
        try:
            self.position = Position(**state["position"])
            newest = state.get("newest")
            model, average = (loaded.model, None) if newest is None else (newest, loaded.model)
            self.learner.restore(model, average, steps=self.position.step)
            self.learner.optimizer.load(state["optimizer"])
            self.sums = EpochSums(**state["sums"])
            self.learner.skipped.copy_(state["skipped"]["all"])
            self.learner.skipped_in_a_row.copy_(state["skipped"]["in_a_row"])
            self.warnings.said.update(state["said"])
            restore_generators(state["generators"], self.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"Checkpoint {loaded.manifest.name} does not fit this version of Spectrain: {error}"
            ) from error


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    weights = dict(model.named_parameters())
    return {name: value for name, value in model.state_dict().items() if name not in weights}


def prepare_session(
    attempt: AttemptSpec,
    spec: TrainSpec,
    *,
    storage: Storage,
    device: str,
    cache: Path,
    reporter: Reporter,
    control: Control,
    outbox: Path | None = None,
) -> Session | None:
    """Everything that the loop needs, at the step to go on from; None when somebody wished to stop meanwhile.

    `outbox` is a folder for checkpoints that a store on another machine does not take at once.
    """
    config, dataset, place = spec.train, spec.dataset, torch.device(device)
    compute_deterministically(place)
    keep_freed_memory()
    store = CheckpointStore(storage, attempt.job_id, attempt=attempt.attempt, recorded=attempt.checkpoints)
    unsent = send_unsent(store, attempt.job_id, outbox, reporter, control)
    loaded = choose_checkpoint(store, attempt, reporter)
    if loaded is not None:
        check_compatible(loaded.manifest, config, dataset.version_hash)
    start = read_start_weights(storage, spec.start, config) if spec.start and loaded is None else None
    reporter.publish(Progress(phase="setup", done=0, total=3, message="Reading features"))
    features = obtain_features(dataset, config, storage=storage, reporter=reporter, control=control)
    if features is None:
        return None
    control.beat()
    representation = make_representation(config.features())
    data = TrainingData(features, config, representation, place)
    clips = {clip.sha256: clip for clip in unique_clips(dataset)}
    split = split_files(list(clips), config.validation_fraction, config.seed)
    if not split.validation:
        reporter.publish(LogLine(message="Nothing is held out: the newest checkpoint counts as the best."))
    train_grid = data.grid(split.train)
    batches = BatchRule.for_training(config, len(train_grid))
    if batches.examples < config.least_batch:
        raise TrainingError(
            "There is a single example in an epoch, too small a one to train on alone: add files, raise expansion, or"
            " make chunk_s longer."
        )
    if loaded is not None:
        scaling = FeatureScaling.from_json(loaded.description.scaling)
    elif start is not None:
        scaling = start.scaling
    else:
        scaling = data.fit_scaling(split.train)
    data.use_scaling(scaling)

    reporter.publish(Progress(phase="setup", done=1, total=3, message="Choosing how to compute"))
    plan = obtain_plan(
        attempt.job_id,
        config,
        place,
        data=data,
        grid=train_grid,
        batches=batches,
        storage=storage,
        cache=PlanCache(cache),
        reporter=reporter,
        control=control,
    )
    if plan is None:
        return None
    torch.set_num_threads(plan.threads)
    reporter.publish(Progress(phase="setup", done=2, total=3, message="Building the model"))
    seed_generators(config.seed)
    session = Session(
        attempt=attempt.attempt,
        job_id=attempt.job_id,
        config=config,
        dataset=dataset,
        device=place,
        plan=plan,
        representation=representation,
        data=data,
        split=split,
        clips=clips,
        train_grid=train_grid,
        validation_grid=data.grid(split.validation) if split.validation else None,
        batches=batches,
        scaling=scaling,
        learner=Learner(config, plan, place, batch_size=batches.bounds(0)[1]),
        store=store,
        unsent=unsent,
        copies=HostCopies(place),
        warnings=Warnings(reporter, set()),
        resumed_from=None if loaded is None else loaded.manifest.name,
    )
    session.learner.before_update = session.copies.wait
    if loaded is not None:
        session.restore(loaded)
        reporter.publish(LogLine(message=resume_message(loaded, session)))
    elif start is not None and spec.start is not None:
        session.learner.model.load_state_dict(start.model)
        reporter.publish(LogLine(message=start_message(spec.start)))
    elif config.first_weights == "principal":
        control.beat()
        components = begin_with_principal_components(session.learner, data, train_grid, config)
        reporter.publish(LogLine(message=components_message(components)))
    give_back_freed_memory()
    return session


def resume_message(loaded: LoadedCheckpoint, session: Session) -> str:
    """Where the training goes on, and whether exactly."""
    manifest, position = loaded.manifest, session.position
    message = (
        f"Goes on from checkpoint {manifest.name}: step {position.step} of {session.total_steps}, epoch"
        f" {min(position.epoch + 1, session.config.epochs)} of {session.config.epochs}."
    )
    if manifest.device != session.device.type or manifest.versions != versions(session.device):
        message += " It was saved on another kind of device or with other versions, so rounding may differ slightly."
    return message


def versions(device: torch.device) -> dict[str, str]:
    """What decides whether a resume is exact."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"spectrain": VERSION, "torch": torch.__version__, "python": platform.python_version(), "device": name}
