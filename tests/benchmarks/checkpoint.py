"""How long a checkpoint holds up the training: `torch.save` of the whole state, and ours.

The whole state is weights, optimizer and generators. Ours is copied in the training thread and written, hashed and
flushed to the disk by another one; the baseline is in the system's cache when it returns, not yet on the disk.
`slows_steps_s` is what the writing costs the steps that run meanwhile, in seconds for one checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from shared.config import Representation
from shared.jobs import AttemptSpec, TrainSpec
from shared.presets import resolve_train_config
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.measuring import Figures, Options, Results, faster, interleaved
from tests.benchmarks.surroundings import Nobody
from worker.train.checkpoint_writer import CheckpointWriter
from worker.train.metrics import EpochSums
from worker.train.rng import generator_states
from worker.train.session import Session, prepare_session

REPRESENTATIONS: Final[tuple[Representation, ...]] = ("mel", "mel_if")
STEPS_MEANWHILE: Final = 8
"""Enough of them for a checkpoint to be written meanwhile."""


def measure(options: Options) -> Results:
    """Seconds; ratio = baseline / ours."""
    corpus = Corpus(options)
    return {name: _measure(corpus, name, job_id, options) for job_id, name in enumerate(REPRESENTATIONS, start=1)}


def _measure(corpus: Corpus, representation: Representation, job_id: int, options: Options) -> Figures:
    threads = torch.get_num_threads()
    nobody = Nobody()
    session = _prepare(corpus, representation, job_id, options)
    examples = session.data.epoch(session.train_grid, 0)

    def run_steps() -> None:
        for index in range(STEPS_MEANWHILE):
            bounds = session.batches.bounds(index % session.batches.steps)
            batch = session.data.batch(examples, *bounds, session.learner.memory_format)
            session.learner.step(batch, learning_rate=session.config.learning_rate, kl_weight=0.0)
        session.learner.skipped.item()  # waits for the device

    run_steps()  # the optimizer has its state only after a step
    with CheckpointWriter(session.store, nobody, nobody, session.warnings, best=None) as writer:

        def save_ours() -> None:
            session.position.step += 1  # another name
            writer.submit(session.snapshot("interval", EpochSums(), best=False))

        def save_and_run_steps() -> None:
            save_ours()
            run_steps()

        baseline_s, ours_s = interleaved(
            lambda: save_plainly(session, options.folder / "whole.pt"), save_ours, before_each=writer.wait
        )
        alone_s, beside_s = interleaved(run_steps, save_and_run_steps, before_each=writer.wait)
        writer.wait()
        written_s = writer.seconds
    torch.set_num_threads(threads)
    return faster(baseline_s, ours_s, slows_steps_s=beside_s - alone_s - ours_s, durable_after_s=written_s)


def save_plainly(session: Session, path: Path) -> None:
    """All that a training needs to go on, in one file."""
    state = {
        "model": session.learner.model.state_dict(),
        "average": session.learner.result.state_dict(),
        "optimizer": session.learner.optimizer.state(),
        "generators": generator_states(session.device),
        "position": vars(session.position).copy(),
    }
    torch.save(state, path)


def _prepare(corpus: Corpus, representation: Representation, job_id: int, options: Options) -> Session:
    config = resolve_train_config(file_count=len(corpus.dataset.clips), representation=representation)
    spec = TrainSpec(dataset=corpus.dataset, train=config)
    nobody = Nobody()
    session = prepare_session(
        AttemptSpec(job_id=job_id, attempt=1, spec=spec),
        spec,
        storage=corpus.storage,
        device=options.device,
        cache=options.folder / "cache",
        reporter=nobody,
        control=nobody,
    )
    if session is None:
        raise RuntimeError("Nobody stopped it.")
    return session
