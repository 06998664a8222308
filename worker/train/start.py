"""The first weights of a training: what another job learned, or the principal components of its own examples.

    weights/<sha256>.safetensors  --read_start_weights-->  weights, running statistics of BatchNorm, scaling
    examples of the first epochs  --begin_with_principal_components-->  weights, running statistics of BatchNorm

The scaling belongs to the weights of another job: they mean features scaled as they learned them. The optimizer
starts fresh.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Final

import torch
from safetensors import SafetensorError
from torch import Tensor

from shared.config import TrainConfig
from shared.errors import CheckpointError, CorruptCheckpointError, NotFoundError
from shared.jobs import StartPoint, start_weights_key
from shared.lineage import weights_incompatibility
from shared.planning import fitted_examples
from shared.storage import Storage
from shared.vae.principal import Components, begin_with_components
from shared.vae.scaling import FeatureScaling
from worker.train.checkpoint import decode_model
from worker.train.data import ChunkGrid, TrainingData
from worker.train.learner import Learner

_GATHERED: Final = 128
"""Examples that are cut out at a time."""


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """What a training takes over."""

    model: dict[str, Tensor]
    """Weights and buffers by name."""
    scaling: FeatureScaling


def read_start_weights(storage: Storage, start: StartPoint, config: TrainConfig) -> StartWeights:
    """The weights that `start` names; raises CheckpointError where they are gone, damaged or do not fit `config`."""
    named = f"checkpoint {start.checkpoint} of job {start.job_id} ({start.job_name})"
    try:
        content = storage.read(start_weights_key(start.sha256))
    except NotFoundError as error:
        raise CheckpointError(
            f"The weights of {named} are not in the artifact store any more: start the training as a new job."
        ) from error
    if hashlib.sha256(content).hexdigest() != start.sha256:
        raise CorruptCheckpointError(
            f"The weights of {named} were changed in the artifact store: start the training as a new job.",
            name=start.checkpoint,
        )
    try:
        model, description = decode_model(content)
        scaling = FeatureScaling.from_json(description.scaling)
    except (KeyError, ValueError, SafetensorError) as error:
        raise CorruptCheckpointError(
            f"The weights of {named} cannot be read: {error}", name=start.checkpoint
        ) from error
    difference = weights_incompatibility(description.model, description.features, config)
    if difference is not None:
        raise CheckpointError(f"This training cannot start from {named}. {difference}")
    return StartWeights(model=model, scaling=scaling)


def begin_with_principal_components(
    learner: Learner, data: TrainingData, grid: ChunkGrid, config: TrainConfig
) -> Components:
    """Give the fresh model of `learner` the weights of its linear optimum for the training's first examples."""
    examples = first_examples(data, grid, fitted_examples(learner.model.config))
    # On the CPU, whatever the device: its linear algebra is the same everywhere.
    model = copy.deepcopy(learner.model).cpu()
    components = begin_with_components(model, examples, seed=config.seed)
    learner.model.load_state_dict(model.state_dict())
    return components


def first_examples(data: TrainingData, grid: ChunkGrid, count: int) -> Tensor:
    """The first `count` examples [count, C, M, T] that a training on `grid` sees, scaled, on the CPU."""
    examples: Tensor | None = None
    taken, epoch = 0, 0
    while examples is None or taken < count:
        excerpts = data.epoch(grid, epoch)
        for first in range(0, min(len(excerpts.base), count - taken), _GATHERED):
            end = min(first + _GATHERED, len(excerpts.base), first + count - taken)
            batch = data.batch(excerpts, first, end, torch.contiguous_format).cpu()
            if examples is None:  # written into one place: a list and what is made of it would be twice as large
                examples = torch.empty(count, *batch.shape[1:])
            examples[taken : taken + len(batch)] = batch
            taken += len(batch)
        epoch += 1
    return examples


def components_message(components: Components) -> str:
    """For the job's log."""
    if not len(components.deviations):
        return "All examples are alike, so the training starts from random weights."
    return f"Starts from {len(components.deviations)} principal components of its examples."


def start_message(start: StartPoint) -> str:
    """For the job's log."""
    return f"Starts from job {start.job_id} ({start.job_name}), checkpoint {start.checkpoint}, step {start.step}."
