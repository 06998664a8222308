"""What a training obtains before it can begin, each from what is there, else made: checkpoint, features, plan.

What is damaged or gone is told of: nothing starts over in silence.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from shared.config import TrainConfig
from shared.errors import CheckpointError, CorruptCheckpointError, TrainingError
from shared.events import LogLine, Progress, Warned
from shared.jobs import AttemptSpec, DatasetSnapshot
from shared.planning import BatchRule
from shared.storage import Storage
from worker.attempt import Control, Reporter
from worker.preprocess.feature_set import FeatureSet, load_feature_set, read_manifest
from worker.preprocess.make import make_features
from worker.train.checkpoint import CheckpointStore, LoadedCheckpoint
from worker.train.checkpoint_writer import saved
from worker.train.data import ChunkGrid, TrainingData
from worker.train.plan import BUSY, ExecutionPlan, PlanCache, keep_job_plan, plan_key, read_job_plan
from worker.train.process import denormals_as_zero, give_back_freed_memory
from worker.train.timing import time_candidates
from worker.train.unsent import UnsentCheckpoints


def send_unsent(
    store: CheckpointStore, job_id: int, outbox: Path | None, reporter: Reporter, control: Control
) -> UnsentCheckpoints | None:
    """What an earlier attempt could not bring into `store` from this machine is there afterwards."""
    if outbox is None:
        return None
    unsent = UnsentCheckpoints(outbox, store, job_id)
    for late in unsent.send(all_of_them=True, on_part=control.beat):
        reporter.publish(saved(late, seconds=time.time() - late.saved_at, kept=store.names()))
    return unsent


def choose_checkpoint(store: CheckpointStore, attempt: AttemptSpec, reporter: Reporter) -> LoadedCheckpoint | None:
    """The checkpoint to go on from; None for a fresh start, which is never silent where one was expected.

    Raises CheckpointError when the chosen one, or every one, cannot be used.
    """
    if attempt.checkpoint is not None:
        if attempt.checkpoint not in store.names():
            raise CheckpointError(f"Checkpoint {attempt.checkpoint} is not there any more: choose another one.")
        return store.load(attempt.checkpoint)
    if attempt.attempt == 1 and not attempt.resume:
        return None
    passed_over: list[str] = []

    def warn(error: CorruptCheckpointError) -> None:
        passed_over.append(error.name)
        reporter.publish(
            Warned(code="checkpoint", message=str(error), advice="The newest valid one before it is used instead.")
        )

    loaded = store.load_newest(on_corrupt=warn)
    if loaded is None and attempt.resume:
        damaged = f" ({', '.join(passed_over)} cannot be read)" if passed_over else ""
        raise CheckpointError(f"No checkpoint is left to go on from{damaged}: start the training as a new job.")
    if loaded is None and passed_over:
        reporter.publish(Warned(code="restart", message="Nothing was saved completely, so the training starts over."))
    return loaded


def obtain_features(
    dataset: DatasetSnapshot, config: TrainConfig, *, storage: Storage, reporter: Reporter, control: Control
) -> FeatureSet | None:
    """The features that the training reads, made first where they are absent or damaged; None when stopped."""
    key = config.features().cache_key(dataset.version_hash)
    features = load_feature_set(storage, key)
    if features is not None:
        return features
    if read_manifest(storage, key) is not None:
        reporter.publish(Warned(code="data", message="The cached features were damaged and are made again."))
    with denormals_as_zero(False):
        made = make_features(dataset, config.features(), storage=storage, reporter=reporter, control=control)
    if made is None:
        return None
    features = load_feature_set(storage, key)
    if features is None:
        raise TrainingError("The features cannot be read back from the artifact store: check its disk.")
    return features


def obtain_plan(
    job_id: int,
    config: TrainConfig,
    device: torch.device,
    *,
    data: TrainingData,
    grid: ChunkGrid,
    batches: BatchRule,
    storage: Storage,
    cache: PlanCache,
    reporter: Reporter,
    control: Control,
) -> ExecutionPlan | None:
    """The job's own plan, else the machine's, else a new one by timing; None when stopped meanwhile."""
    plan = read_job_plan(storage, job_id, device)
    if plan is not None:
        reporter.publish(LogLine(message=f"Computes as before: {plan.describe()}."))
        return plan
    key = plan_key(config, batches.size, device)
    plan = cache.get(key)
    if plan is None:

        def before_each(name: str) -> bool:
            control.beat()
            reporter.publish(Progress(phase="setup", done=1, total=3, message=f"Timing {name}"))
            return control.wish() == "none"

        def make_batch(memory_format: torch.memory_format) -> Tensor:
            return data.batch(excerpts, *batches.bounds(0), memory_format)

        excerpts = data.epoch(grid, 0)
        plan = time_candidates(
            config,
            device,
            make_batch,
            before_each=before_each,
            log=lambda message: reporter.publish(LogLine(message=message)),
        )
        give_back_freed_memory()  # of the models that were timed
        if plan is None:
            return None
        if plan.load <= BUSY:
            cache.put(key, plan)
    keep_job_plan(storage, job_id, device, plan)
    reporter.publish(LogLine(message=f"Found the fastest way to compute here: {plan.describe()}."))
    return plan
