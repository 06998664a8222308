"""From what a person asks for to the frozen specification of a job, and to what it comes to before it is submitted."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.exceptions import RedisError

from api.queue.start_points import Start, StartPoints
from api.record.datasets import DatasetRecord
from api.views import CheckView, DatasetView, PresetListView, PresetView, WorkerView
from shared.config import PresetName, Representation, TrainConfig
from shared.devices import parse_device
from shared.errors import ConfigError
from shared.jobs import (
    JobSpec,
    PreprocessRequest,
    PreprocessSpec,
    StartRequest,
    TrainRequest,
    TrainSpec,
)
from shared.lineage import incompatibility
from shared.planning import plan_training
from shared.presets import resolve_train_config

RECOMMENDED_FOR: Final[dict[PresetName, str]] = {
    "auto": "any number of files",
    "conservative": "under 50 files",
    "balanced": "50 to 199 files",
    "aggressive": "200 and more files",
}
_SMALL_CORPUS: Final = 5
_NOT_CHANGES: Final = frozenset({"representation", "preset"})
"""Fields of TrainConfig that a request has a place of its own for."""
_FOLLOWED: Final = frozenset({"objective", "latent_dim", "chunk_s", "spectrogram", "mask_threshold"})
"""Fields of TrainConfig that a training takes over from the model that it starts from, unless it is asked otherwise."""


@dataclass(frozen=True, kw_only=True)
class Submittable:
    """A job that may be recorded."""

    name: str
    spec: JobSpec
    device: str


class Submission:
    """Resolves requests against the datasets and the models that are there; `workers` tells who is online."""

    def __init__(
        self, *, datasets: DatasetRecord, starts: StartPoints, workers: Callable[[], list[WorkerView]]
    ) -> None:
        self._datasets = datasets
        self._starts = starts
        self._workers = workers

    def prepare(self, request: PreprocessRequest | TrainRequest) -> Submittable:
        """The job that `request` asks for, with the weights that it starts from kept for it.

        Raises NotFoundError for its dataset and for what it starts from, ConfigError for the rest.
        """
        spec = self._spec(request)
        if isinstance(spec, TrainSpec) and spec.start is not None:
            self._starts.keep(spec.start)
        what = spec.train.representation if isinstance(spec, TrainSpec) else "features"
        name = _one_line(request.name) or f"{spec.dataset.name} {what}"[-200:]
        return Submittable(name=name, spec=spec, device=request.device)

    def check(self, request: PreprocessRequest | TrainRequest) -> CheckView:
        """What `request` comes to; raises as `prepare` does, and writes nothing but the dataset's version."""
        spec = self._spec(request)
        clips = spec.dataset.clips
        warnings = _corpus_warnings(spec) + self._device_warnings(request.device)
        if isinstance(spec, PreprocessSpec):
            return CheckView(
                features=spec.features,
                file_count=len(clips),
                chunks=0,
                steps_per_epoch=0,
                total_steps=0,
                warnings=warnings,
            )
        planned = plan_training(clips, spec.train)
        return CheckView(
            train=spec.train,
            file_count=len(clips),
            chunks=planned.chunks,
            steps_per_epoch=planned.steps_per_epoch,
            total_steps=planned.total_steps,
            start=spec.start,
            warnings=warnings,
        )

    def presets(
        self, *, dataset: str, representation: Representation, start: StartRequest | None = None
    ) -> PresetListView:
        """Every preset's values for a dataset, or for a small one where none is named."""
        file_count = self._datasets.view(dataset).clips if dataset else 0
        changes: dict[str, Any] = {}
        if start is not None:
            model = self._starts.find(start).train
            representation, changes = model.representation, _following(model, {})
        return PresetListView(
            file_count=file_count,
            presets=[
                PresetView(
                    preset=preset,
                    recommended_for=recommended_for,
                    train=resolve_train_config(
                        file_count=file_count, representation=representation, preset=preset, changes=changes
                    ),
                )
                for preset, recommended_for in RECOMMENDED_FOR.items()
            ],
        )

    def _spec(self, request: PreprocessRequest | TrainRequest) -> JobSpec:
        dataset = self._datasets.snapshot(self._filled(request.dataset).id)
        if isinstance(request, PreprocessRequest):
            return PreprocessSpec(dataset=dataset, features=request.features)
        for name in sorted(_NOT_CHANGES & request.changes.keys()):
            raise ConfigError(f"changes.{name}: give {name} beside changes, not among them.", field=f"changes.{name}")
        start = None if request.start is None else self._starts.find(request.start)
        train = _train_config(request, len(dataset.clips), start)
        if start is not None and (difference := incompatibility(start.train, train)):
            raise ConfigError(
                f"This training does not fit job {start.point.job_id}. {difference}"
                " Leave that setting out to keep the model's, or start from new weights.",
                field="start",
            )
        return TrainSpec(dataset=dataset, train=train, start=start.point if start else None)

    def _filled(self, key: str) -> DatasetView:
        dataset = self._datasets.view(key)
        if dataset.clips == 0:
            raise ConfigError(f"Dataset {dataset.name!r} has no files yet: add some first.", field="dataset")
        return dataset

    def _device_warnings(self, wanted: str) -> list[str]:
        try:
            online = [worker for worker in self._workers() if worker.state not in ("offline", "stopping")]
        except RedisError:
            return ["Redis does not answer, so the job will wait until it does."]
        if any(parse_device(worker.device.name).fits(wanted) for worker in online):
            return []
        if not online:
            return ["No worker is online: the job will wait until one is started."]
        return [f"No worker that is online has the device {wanted!r}: the job will wait until one has."]


def _train_config(request: TrainRequest, file_count: int, start: Start | None) -> TrainConfig:
    representation, changes = request.representation, request.changes
    if start is not None:
        changes = _following(start.train, changes)
        if "representation" not in request.model_fields_set:
            representation = start.train.representation
    try:
        return resolve_train_config(
            file_count=file_count, representation=representation, preset=request.preset, changes=changes
        )
    except ConfigError as error:
        field = f"changes.{error.field}" if error.field else "changes"
        raise ConfigError(f"{field}: {str(error).removeprefix(f'{error.field}: ')}", field=field) from error


def _following(model: TrainConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` on top of what a training takes over from `model`; a spectrogram is taken over part by part."""
    taken = model.model_dump(include=set(_FOLLOWED))
    spectrogram: Any = changes.get("spectrogram", {})
    if isinstance(spectrogram, dict):
        spectrogram = {**taken["spectrogram"], **cast(dict[str, Any], spectrogram)}
    return {**taken, **changes, "spectrogram": spectrogram}


def _corpus_warnings(spec: JobSpec) -> list[str]:
    if isinstance(spec, PreprocessSpec):
        return []
    clips, train = spec.dataset.clips, spec.train
    warnings: list[str] = []
    if len(clips) == 1:
        warnings.append("The dataset has one file only, so none is held out: the newest model counts as the best.")
    elif len(clips) < _SMALL_CORPUS:
        warnings.append(f"The dataset has only {len(clips)} files: the model will know little beyond them.")
    planned = plan_training(clips, train)
    if len(clips) > 1 and not planned.held_out:
        warnings.append("No file is held out, so overfitting cannot be seen: the newest model counts as the best.")
    if planned.batch_size == 1:
        warnings.append(
            f"There is little to train on ({planned.chunks} chunks): batches have one example, which trains badly."
        )
    return warnings


def _one_line(name: str) -> str:
    return " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in name).split())
