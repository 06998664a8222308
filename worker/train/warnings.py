"""What a person should know while a training goes on, in plain words, each said once for a job.

A plateau is news again after a new best: it says when there is no point in waiting any longer.
"""

from __future__ import annotations

from typing import Final, Literal

from shared.errors import TrainingError
from shared.events import Warned
from worker.attempt import Reporter
from worker.train.evaluation import Evaluation
from worker.train.metrics import active_units, overfitting_gap

Code = Literal["overfitting", "collapse", "not_a_number", "latent_too_large", "plateau", "checkpoint", "disk", "data"]

LARGEST_GAP: Final = 0.2
"""Above this the held-out files are reconstructed clearly worse than the training files."""
MOST_SKIPPED_IN_A_ROW: Final = 50
"""After this many updates without a finite loss the training cannot recover."""
PLATEAU_SHARE: Final = 0.2
"""Share of the run's epochs which, without a new best, are a plateau; see `plateau_epochs`."""


class Warnings:
    """Publishes each kind of warning once; `said` is what a checkpoint keeps."""

    def __init__(self, reporter: Reporter, said: set[str]) -> None:
        self.said = said
        self._reporter = reporter

    def warn(self, code: Code, message: str, *, advice: str = "", step: int | None = None) -> None:
        """Publish unless one of that kind was published before."""
        if code not in self.said:
            self.said.add(code)
            self._reporter.publish(Warned(code=code, message=message, advice=advice, step=step))

    def judge_skipped(self, step: int, skipped: int, in_a_row: int) -> None:
        """Updates were skipped, since loss or gradients were not numbers; raises TrainingError when it persists."""
        self.warn(
            "not_a_number",
            f"The loss was not a number by step {step}; {skipped} update(s) were skipped so far.",
            advice="If it happens again and again, start a training with a lower learning_rate.",
            step=step,
        )
        if in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"The loss was not a number in {in_a_row} steps in a row, up to step {step}, so nothing was learned any"
                " more: start again with a lower learning_rate, or remove files with extreme content."
            )

    def judge_epoch(
        self,
        *,
        epoch: int,
        epochs: int,
        best_epoch: int,
        step: int,
        train: Evaluation,
        validation: Evaluation | None,
        warmed_up: bool,
    ) -> None:
        """Look at a finished epoch (counted from 1). `warmed_up`: the KL weight has reached its full value."""
        gap = overfitting_gap(train, validation)
        if gap is not None and gap > LARGEST_GAP:
            self.warn(
                "overfitting",
                f"Held-out files are reconstructed {gap:.0%} worse than the training files: the model learns them by"
                " heart.",
                advice="Add more files, or use more dropout and weight decay (the conservative preset).",
                step=step,
            )
        if warmed_up:
            self._judge_latent(train if validation is None else validation, step)
        if epoch == best_epoch:
            self.said.discard("plateau")
        elif best_epoch and epoch - best_epoch >= plateau_epochs(epochs):
            since = epoch - best_epoch
            self.warn(
                "plateau",
                f"It is no longer improving: best at epoch {best_epoch}, no better in {since} epochs since.",
                advice="The best checkpoint is kept; stop here if the previews sound right.",
                step=step,
            )

    def _judge_latent(self, evaluation: Evaluation, step: int) -> None:
        dimensions, active = len(evaluation.kl_per_dimension), active_units(evaluation)
        if active == 0:
            self.warn(
                "collapse",
                "The latent carries nothing: every sound is reconstructed alike.",
                advice="Start a training with a lower kl_weight or a longer kl_warmup_fraction.",
                step=step,
            )
        elif 2 * active < dimensions:
            self.warn(
                "latent_too_large",
                f"Only {active} of {dimensions} latent dimensions are in use.",
                advice=f"Train with a smaller latent, such as latent_dim {smaller_latent(active)}.",
                step=step,
            )


def plateau_epochs(epochs: int) -> int:
    """Epochs without a new best that are a plateau in a run of `epochs`: a fifth of them, from 5 to 40."""
    return min(40, max(5, round(epochs * PLATEAU_SHARE)))


def smaller_latent(active: int) -> int:
    """The power of two that leaves room for `active` dimensions."""
    return 1 << max(1, active - 1).bit_length()
