"""Held-out sounds through a `mel` model and into audio, and through a `mel_if` model and into audio, after equal steps.

The figure is the squared error of the audio's log1p mel against the sound's own, over all held-out chunks (at most
64, evenly spread), as previews let hear them: from latents that the default preset refines by descent. Baseline is
`mel`, ours `mel_if`; `mean` is the error of the mean of the training chunks, and `without_model` that of the sounds
through features and audio alone. ratio = ours / baseline.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.audio.representation import make_representation
from shared.config import Representation
from shared.presets import resolve_train_config
from tests.benchmarks.corpus import Corpus
from tests.benchmarks.measuring import Options, Results, smaller
from tests.benchmarks.training import Training

MOST_CHUNKS = 64
BATCH = 16


def measure(options: Options) -> Results:
    """Squared errors; ratio = `mel_if` / `mel`."""
    corpus = Corpus(options)
    threads = torch.get_num_threads()
    mel = train(corpus, "mel", options)
    torch.set_num_threads(threads)
    mel_if = train(corpus, "mel_if", options)
    torch.set_num_threads(threads)
    wanted = held_out_features(mel, corpus)
    learned = mel.data.unscaled_batch(mel.data.fixed(mel.grid), 0, len(mel.grid))
    mean = float((learned.mean(dim=0) - wanted).square().mean())
    through_mel = audio_error(mel, mel.heard(held_out_features(mel, corpus)), wanted)
    through_mel_if = audio_error(mel_if, mel_if.heard(held_out_features(mel_if, corpus)), wanted)
    return {
        f"after {options.steps} steps": smaller(through_mel, through_mel_if),
        "without_model": smaller(
            audio_error(mel, wanted, wanted), audio_error(mel_if, held_out_features(mel_if, corpus), wanted)
        ),
        "mean": smaller(mean, through_mel_if),
    }


def train(corpus: Corpus, representation: Representation, options: Options) -> Training:
    """A model of the default preset after the chosen number of steps, its learning rate annealed to zero by then."""
    config = resolve_train_config(file_count=len(corpus.train), representation=representation)
    training = Training(corpus.features(config.features()), config, corpus.train, torch.device(options.device))
    training.use_steps(options.steps)
    training.run()
    return training


def held_out_features(training: Training, corpus: Corpus) -> Tensor:
    """Held-out chunks [N, C, M, T] in log1p units, on the CPU."""
    grid = training.data.grid(corpus.held_out).thinned(MOST_CHUNKS)
    return training.data.unscaled_batch(training.data.fixed(grid), 0, len(grid)).cpu()


def audio_error(training: Training, features: Tensor, wanted: Tensor) -> float:
    """Squared error of log1p mel between the audio of `features` and the chunks `wanted` [N, 1, M, T]."""
    synthesis = make_representation(training.config.features())
    analysis = make_representation(training.config.features().model_copy(update={"representation": "mel"}))
    samples = training.config.chunk_samples
    total = 0.0
    with torch.inference_mode():
        for given, sound in zip(features.split(BATCH), wanted.split(BATCH), strict=True):
            heard = analysis.analyse(synthesis.synthesise(given, samples, quality="best"))
            total += float((heard - sound).square().mean(dim=(1, 2, 3)).sum())
    return total / len(wanted)
