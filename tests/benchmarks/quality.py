"""How well sounds that were never learned from are reconstructed: squared error of log1p mel.

A fifth of the files is held out (see `corpus.divide`); everything is fitted to the others and judged on all chunks of
the held-out ones, by the last weights. Ours is the default preset with the `mel` model. The baselines:

    documented   the documented objective with the documented preset for so many files
    beta         the `beta` objective with the same preset
    pca          as many principal components as ours has dimensions, of crops that ours learns from (augmented), or of
                 the same number of crops as they are where that is better
    mean         the mean of the same crops, cell by cell

Each error is told four times: over all chunks, where a long file counts more than a short one, and as the mean of the
files' own errors, where each sound counts the same; from mu, and *as heard*: from the latents by which previews
reconstruct a sound, which the default preset refines by descent. A projection's latents are the closest already.

Each model trains for the same time (`--seconds`), or for its preset's epochs where they take less; where the time is
shorter, cosine and KL warm-up follow the share of it that is gone. All of them follow the execution plan of ours.
ratio = ours / baseline: below 1 ours is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

import torch

from shared.config import PresetName, TrainConfig
from shared.presets import documented_preset_for, resolve_train_config
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.linear import fit_projection, fixed_chunks, training_crops
from tests.benchmarks.measuring import Figures, Options, Results, smaller
from tests.benchmarks.training import Training
from worker.train.metrics import active_units
from worker.train.plan import ExecutionPlan

Errors = Mapping[str, float]
"""By WAYS."""
WAYS: Final = ("", ", by file", ", as heard", ", as heard, by file")


def measure(options: Options) -> Results:
    """Squared errors; ratio = ours / baseline."""
    corpus = Corpus(options)
    threads = torch.get_num_threads()
    ours = Trial(corpus, options)
    torch.set_num_threads(threads)
    results: dict[str, Figures] = {}

    def compare(name: str, baseline: Errors, **facts: float | str) -> None:
        for way, theirs in baseline.items():
            results[f"{name}{way}"] = smaller(theirs, ours.errors[way], **facts)

    for name, (over_chunks, by_file) in _linear_errors(ours.training, corpus.held_out).items():
        compare(name, dict(zip(WAYS, (over_chunks, by_file) * 2, strict=True)))
    documented = documented_preset_for(len(corpus.train))
    for objective in ("beta", "documented"):
        trial = Trial(corpus, options, preset=documented, plan=ours.training.plan, objective=objective)
        compare(f"{objective}, {documented}", trial.errors, **trial.facts())
    torch.set_num_threads(threads)
    return results | {"ours": ours.facts() | {"files": len(corpus.train), "held_out_files": len(corpus.held_out)}}


class Trial:
    """One model, trained within the time and judged."""

    def __init__(
        self,
        corpus: Corpus,
        options: Options,
        *,
        preset: PresetName = "auto",
        plan: ExecutionPlan | None = None,
        **changes: Any,
    ) -> None:
        config: TrainConfig = resolve_train_config(file_count=len(corpus.train), preset=preset, changes=changes)
        features = corpus.features(config.features())
        self.training = Training(features, config, corpus.train, torch.device(options.device), plan)
        self.seconds = self.training.run_for(options.seconds)
        judged = self.training.judge(corpus.held_out)
        by_file = statistics.fmean(self.training.judge([file]).reconstruction for file in corpus.held_out)
        self.errors: Errors = dict(zip(WAYS, (judged.reconstruction, by_file, *self._heard(corpus)), strict=True))
        self.active_share = active_units(judged) / config.latent_dim
        self.train_error = self.training.judge(corpus.train).reconstruction

    def facts(self) -> dict[str, float | str]:
        """What is worth knowing beside the error."""
        return {
            **{f"error{way}": error for way, error in self.errors.items()},
            "error_on_training_files": self.train_error,
            "active_share": self.active_share,
            "epochs": self.training.done / self.training.batches.steps,
            "steps": self.training.done,
            "seconds": self.seconds,
        }

    def _heard(self, corpus: Corpus) -> tuple[float, float]:
        """Errors of what previews let hear, over all chunks and by file."""
        chunks = [fixed_chunks(self.training, [file]).cpu() for file in corpus.held_out]
        apart = [(self.training.heard(sound) - sound)[:, 0].square().mean(dim=(1, 2)) for sound in chunks]
        return float(torch.cat(apart).mean()), statistics.fmean(float(each.mean()) for each in apart)


def _linear_errors(training: Training, held_out: list[str]) -> dict[str, tuple[float, float]]:
    """Held-out errors of what needs no training, over all chunks and by file."""
    dimensions = training.config.latent_dim
    judged = fixed_chunks(training, held_out)
    judged_by_file = [fixed_chunks(training, [file]) for file in held_out]
    found: dict[int, list[tuple[float, float]]] = {dimensions: [], 0: []}
    for augmented in (True, False):
        crops = training_crops(training, augmented=augmented)
        for count, errors in found.items():
            projection = fit_projection(crops, count)
            errors.append((projection.error(judged), statistics.fmean(map(projection.error, judged_by_file))))
    names = {dimensions: f"pca, {dimensions} components", 0: "mean"}
    # Each of the two by the crops that are better for it.
    return {name: (min(each[0] for each in found[n]), min(each[1] for each in found[n])) for n, name in names.items()}
