"""One attempt of a preprocess job."""

from __future__ import annotations

import traceback

from shared.errors import LeaseLostError, SpectrainError, StorageAwayError
from shared.events import LogLine
from shared.jobs import AttemptSpec, PreprocessSpec
from shared.storage import Storage
from worker.attempt import AttemptResult, Control, Reporter, Wish
from worker.preprocess.feature_set import read_manifest
from worker.preprocess.make import make_features


def run_preprocess(
    attempt: AttemptSpec,
    *,
    storage: Storage,
    device: str,  # noqa: ARG001 - features are made on the CPU, so that every device trains on the same ones
    reporter: Reporter,
    control: Control,
) -> AttemptResult:
    """Make the features that the attempt asks for, unless they are there already.

    A wish to stop is met at the next file. A file that cannot be used fails the attempt with its name; errors
    that are not ours propagate.
    """
    if not isinstance(attempt.spec, PreprocessSpec):
        raise TypeError("run_preprocess takes a preprocess job")
    dataset, config = attempt.spec.dataset, attempt.spec.features
    try:
        if read_manifest(storage, config.cache_key(dataset.version_hash)) is not None:
            reporter.publish(LogLine(message="These features were made before and are reused."))
            return AttemptResult(outcome="completed", reason="The features were there already.")
        manifest = make_features(dataset, config, storage=storage, reporter=reporter, control=control)
    except (LeaseLostError, StorageAwayError):
        raise
    except SpectrainError as error:
        return AttemptResult(outcome="failed", reason=str(error), detail=traceback.format_exc())
    if manifest is None:
        return stopped(control.wish(), reason="Stopped while features were made; they start again next time.")
    return AttemptResult(
        outcome="completed",
        reason=f"Made {manifest.rows} frames of {len(manifest.clips)} files ({manifest.size_bytes / 2**20:.0f} MiB).",
    )


def stopped(wish: Wish, *, step: int = 0, reason: str) -> AttemptResult:
    """The result of an attempt that met `wish`."""
    match wish:
        case "pause":
            return AttemptResult(outcome="paused", step=step, reason=reason)
        case "shutdown":
            return AttemptResult(outcome="handed_back", step=step)  # that its worker was stopped says enough
        case "cancel" | "none":
            return AttemptResult(outcome="cancelled", step=step, reason=reason)
