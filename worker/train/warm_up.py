"""What the first step of a process would wait for, done beforehand by a trainer that waits for its attempt."""

from __future__ import annotations

import contextlib

import torch

from shared.audio.representation import make_representation
from shared.config import TrainConfig
from worker.train.determinism import compute_deterministically
from worker.train.learner import Learner
from worker.train.plan import ExecutionPlan
from worker.train.process import denormals_as_zero


def warm_up(device: str) -> None:
    """Import what torch and the transforms load late, and wake `device` by one step of a small model.

    Leaves nothing behind: a training seeds its own generators. A device that is full or broken is no matter here;
    the attempt that meets it can say so.
    """
    config = TrainConfig(chunk_s=0.05, latent_dim=2)
    # First of all that computes: torch's threads start here, and are the training's later.
    with denormals_as_zero(), contextlib.suppress(RuntimeError):
        make_representation(config.features())
        place = torch.device(device)
        compute_deterministically(place)
        learner = Learner(config, ExecutionPlan(threads=torch.get_num_threads()), place)
        batch = torch.zeros(2, 1, config.spectrogram.n_mels, config.frames, device=place)
        learner.step(batch, learning_rate=config.learning_rate, kl_weight=0.0).cpu()
