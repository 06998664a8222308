"""A training, from its first step to its last: step, events, control, checkpoint, in that order.

Everything is set up in `session.py`; what a step computes is in `learner.py`. Positions count what is done:
position.step steps, position.index of them in the current epoch. The bracket of an epoch is evaluation: a stop in
mid-epoch, even between the last step and the evaluation, is continued exactly there.
"""

from __future__ import annotations

import math
import time
import traceback
from pathlib import Path

from shared.config import TrainConfig
from shared.errors import LeaseLostError, SpectrainError, StorageAwayError
from shared.events import CheckpointReason, LogLine, Progress
from shared.jobs import AttemptSpec, TrainSpec
from shared.storage import Storage
from worker.attempt import AttemptResult, Control, Reporter, Wish
from worker.preprocess.attempt import stopped
from worker.train.checkpoint_writer import CheckpointWriter
from worker.train.evaluation import Evaluation, evaluate
from worker.train.learner import kl_weight, learning_rate
from worker.train.metrics import StepFacts, StepRecorder, make_epoch_metrics, time_to_go
from worker.train.preview import PreviewMaker, PreviewRequest, choose_source, compute_features
from worker.train.process import denormals_as_zero
from worker.train.session import Session, prepare_session

LEAST_TRAINING_CHUNKS_JUDGED = 256
"""Training chunks that are evaluated after an epoch, or as many as are held out where those are more."""


@denormals_as_zero()
def run_training(
    attempt: AttemptSpec,
    *,
    storage: Storage,
    device: str,
    cache: Path,
    reporter: Reporter,
    control: Control,
    outbox: Path | None = None,
) -> AttemptResult:
    """Train, or go on training, until the last epoch is done or somebody wishes to stop.

    `device` is "cpu", "cuda:0" or "mps"; `cache` a local folder for what was measured on this machine, `outbox` one for
    checkpoints that wait for a store on another one. Makes the features that are absent first. Our own errors end the
    attempt as failed with their sentence; others propagate, among them a lost lease and a store that is away.
    """
    if not isinstance(attempt.spec, TrainSpec):
        raise TypeError("run_training takes a train job")
    began_at = time.monotonic()
    session: Session | None = None
    try:
        session = prepare_session(
            attempt,
            attempt.spec,
            storage=storage,
            device=device,
            cache=cache,
            reporter=reporter,
            control=control,
            outbox=outbox,
        )
        if session is None:
            return stopped(control.wish(), reason="Stopped before the first step; nothing was lost.")
        return _Training(session, attempt, began_at, storage=storage, reporter=reporter, control=control).run()
    except (LeaseLostError, StorageAwayError):
        raise
    except SpectrainError as error:
        step = session.position.step if session else 0
        return AttemptResult(outcome="failed", step=step, reason=str(error), detail=traceback.format_exc())


class _Training:
    """The loop and its few helpers; all state that matters is the session's."""

    def __init__(
        self,
        session: Session,
        attempt: AttemptSpec,
        began_at: float,
        *,
        storage: Storage,
        reporter: Reporter,
        control: Control,
    ) -> None:
        self.session = session
        self.reporter = reporter
        self.control = control
        self.began_at = began_at - attempt.elapsed_s
        self.recorder = StepRecorder(
            reporter,
            session.device,
            total_steps=session.total_steps,
            sums=session.sums,
            skipped=int(session.learner.skipped),
            on_skipped=session.warnings.judge_skipped,
        )
        self.source = choose_source(
            session.config, session.data, session.preview_clips(), session.learner.memory_format, session.device
        )
        self.writer = CheckpointWriter(
            session.store,
            reporter,
            control,
            session.warnings,
            best=session.store.best_of(session.position.best_checkpoint),
            recorded=session.resumed_from,
            unsent=session.unsent,
        )
        self.previews = PreviewMaker(
            storage,
            session.job_id,
            session.config,
            representation=session.representation,
            source=self.source,
            reporter=reporter,
            warnings=session.warnings,
        )
        self.told_of_recording = False
        self.saved_at = time.monotonic()
        self.first_step = session.position.step
        self.first_step_at = time.monotonic()

    def run(self) -> AttemptResult:
        with self.writer, self.previews:
            return self.train()

    def train(self) -> AttemptResult:
        session, position, config = self.session, self.session.position, self.session.config
        while position.epoch < config.epochs:
            self.reporter.publish(Progress(phase="training", done=position.step, total=session.total_steps))
            examples = session.data.epoch(session.train_grid, position.epoch)
            weight = kl_weight(config, position.epoch)

            while position.index < session.batches.steps:
                # Step
                step_began_at = time.monotonic()
                rate = learning_rate(config, position.step, session.total_steps)
                first, end = session.batches.bounds(position.index)
                batch = session.data.batch(examples, first, end, session.learner.memory_format)
                row = session.learner.step(batch, learning_rate=rate, kl_weight=weight)
                position.step += 1
                position.index += 1

                # Events
                facts = StepFacts(
                    step=position.step,
                    epoch=position.epoch + 1,
                    kl_weight=weight,
                    learning_rate=rate,
                    seconds=time.monotonic() - step_began_at,
                )
                self.recorder.add(row, facts)
                self.tell_of_recording()

                # Control
                self.control.beat()
                wish = self.control.wish()
                if wish != "none":
                    return self.stop(wish)
                if self.control.take_preview():
                    self.preview()

                # Checkpoint
                if self.control.take_save():
                    self.save("save")
                elif time.monotonic() - self.saved_at >= config.checkpoint_every_s and not self.writer.backlog:
                    self.save("interval")

            self.recorder.flush()
            judged = self.judge_epoch(weight)
            if judged is None:
                return self.stop(self.control.wish())
            self.finish_epoch(*judged)
        return self.finish()

    def tell_of_recording(self) -> None:
        """Say once why steps are not recorded where the plan says so: they take longer than it promised."""
        failure = self.session.learner.recording_failure
        if failure and not self.told_of_recording:
            self.told_of_recording = True
            self.reporter.publish(LogLine(message=f"Steps are not recorded as a CUDA graph: {failure}"))

    def judge_epoch(self, weight: float) -> tuple[Evaluation, Evaluation | None] | None:
        """Training and held-out chunks in evaluation mode; None when somebody wishes to stop meanwhile."""
        session = self.session

        held_out = session.validation_grid
        most = max(LEAST_TRAINING_CHUNKS_JUDGED, 0 if held_out is None else len(held_out))
        train = evaluate(
            session.learner,
            session.data,
            session.train_grid.thinned(most),
            session.scaling,
            kl_weight=weight,
            go_on=self.go_on,
        )
        if train is None or held_out is None:
            return None if train is None else (train, None)
        validation = evaluate(
            session.learner, session.data, held_out, session.scaling, kl_weight=weight, go_on=self.go_on
        )
        return None if validation is None else (train, validation)

    def finish_epoch(self, train: Evaluation, validation: Evaluation | None) -> None:
        """Report the epoch, keep it where it is the best so far, make its preview."""
        session, position, config = self.session, self.session.position, self.session.config
        position.epoch += 1
        position.index = 0
        best = self.note_best(train, validation)
        now = time.monotonic()
        self.reporter.publish(
            make_epoch_metrics(
                epoch=position.epoch,
                epochs=config.epochs,
                step=position.step,
                total_steps=session.total_steps,
                train_loss=self.recorder.sums.mean,
                train=train,
                validation=validation,
                best=best,
                elapsed_s=now - self.began_at,
                eta_s=time_to_go(
                    position.step - self.first_step, session.total_steps - position.step, now - self.first_step_at
                ),
                device=session.device,
            )
        )
        self.recorder.new_epoch()
        session.warnings.judge_epoch(
            epoch=position.epoch,
            epochs=config.epochs,
            best_epoch=position.best_epoch,
            step=position.step,
            train=train,
            validation=validation,
            warmed_up=_warmed_up(config, position.epoch),
        )
        last = position.epoch == config.epochs
        if last:
            self.save("final", best=best)
        elif best and validation is not None:
            self.save("best", best=True)
        if config.preview_every and (last or position.epoch % config.preview_every == 0):
            self.preview()

    def note_best(self, train: Evaluation, validation: Evaluation | None) -> bool:
        """Whether the finished epoch is the best so far; without held-out files the newest is."""
        position = self.session.position
        position.val_reconstruction = None if validation is None else validation.reconstruction
        value = train.reconstruction if validation is None else validation.reconstruction
        if not math.isfinite(value):
            position.val_reconstruction = None
            return False
        if value < position.best_value:
            position.best_value, position.best_epoch = value, position.epoch
            return True
        return validation is None

    def go_on(self) -> bool:
        """Whether nobody wishes to stop; tells that the training is alive."""
        self.control.beat()
        return self.control.wish() == "none"

    def preview(self) -> None:
        """Compute a preview's features now, unless somebody wishes to stop; its sounds are made while the training goes
        on."""
        session, position = self.session, self.session.position
        began_at = time.monotonic()
        features = compute_features(session.learner, self.source, session.scaling, go_on=self.go_on)
        if features is None:
            return
        self.previews.submit(
            PreviewRequest(
                name=f"{session.attempt}-{position.step}",
                epoch=max(1, -(-position.step // session.batches.steps)),
                step=position.step,
                features=features,
                began_at=began_at,
            )
        )

    def save(self, reason: CheckpointReason, *, best: bool = False) -> None:
        """Copy the training as it is; the copy is written while the training goes on."""
        self.recorder.flush()
        best = best or self.session.validation_grid is None
        self.writer.submit(self.session.snapshot(reason, self.recorder.sums, best=best))
        self.saved_at = time.monotonic()

    def stop(self, wish: Wish) -> AttemptResult:
        """Save right here, and wait until it is durable."""
        self.previews.abandon()
        self.save(wish if wish != "none" else "cancel")
        self.writer.wait()
        return self.stopped(wish)

    def stopped(self, wish: Wish) -> AttemptResult:
        """The result of a stop whose checkpoint was written, or not."""
        step = self.session.position.step
        if self.writer.failure is None:
            return stopped(wish, step=step, reason=f"Saved step {step:,} in {self.writer.seconds:.2f} s.")
        durable = self.writer.durable_step
        kept = "nothing newer was saved" if durable is None else f"step {durable} is the newest that is saved"
        return stopped(wish, step=step, reason=f"Step {step} could not be saved; {kept}. {self.writer.failure}")

    def finish(self) -> AttemptResult:
        """All epochs are done: wait for the final checkpoint."""
        self.writer.wait()
        if self.writer.failure is not None:
            wish = self.control.wish()
            if wish != "none":
                return self.stopped(wish)
            raise self.writer.failure
        step = self.session.position.step
        return AttemptResult(
            outcome="completed", step=step, reason=f"All {self.session.config.epochs} epochs are done."
        )


def _warmed_up(config: TrainConfig, epoch: int) -> bool:
    """Whether the KL weight had its full value in `epoch`, counted from 1."""
    return kl_weight(config, epoch - 1) >= config.kl_weight
