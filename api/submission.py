"""From what a person asks for to the frozen specification of a job, and to what it comes to before it is submitted."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from api.record.datasets import DatasetRecord
from api.views import CheckView, DatasetView, PresetListView, PresetView, WorkerView
from shared.config import PresetName, Representation, TrainConfig, resolve_train_config
from shared.devices import parse_device
from shared.errors import ConfigError
from shared.jobs import DatasetSnapshot, JobSpec, PreprocessRequest, PreprocessSpec, TrainRequest, TrainSpec
from shared.planning import plan_training

RECOMMENDED_FOR: Final[dict[PresetName, str]] = {
    "auto": "any number of files",
    "conservative": "under 50 files",
    "balanced": "50 to 199 files",
    "aggressive": "200 and more files",
}
_SMALL_CORPUS: Final = 5
_NOT_CHANGES: Final = frozenset({"representation", "preset"})
"""Fields of TrainConfig that a request has a place of its own for."""


@dataclass(frozen=True, kw_only=True)
class Submittable:
    """A job that may be recorded."""

    name: str
    spec: JobSpec
    device: str


class Submission:
    """Resolves requests against the datasets; `workers` tells who is online."""

    def __init__(self, *, datasets: DatasetRecord, workers: Callable[[], list[WorkerView]]) -> None:
        self._datasets = datasets
        self._workers = workers

    def prepare(self, request: PreprocessRequest | TrainRequest) -> Submittable:
        """The job that `request` asks for; raises NotFoundError for its dataset and ConfigError for the rest."""
        dataset = self._filled(request.dataset)
        spec = _spec(request, self._datasets.snapshot(dataset.id))
        what = request.representation if request.kind == "train" else "features"
        name = _one_line(request.name) or f"{spec.dataset.name} {what}"[-200:]
        return Submittable(name=name, spec=spec, device=request.device)

    def check(self, request: PreprocessRequest | TrainRequest) -> CheckView:
        """What `request` comes to; raises as `prepare` does, and writes nothing but the dataset's version."""
        spec = self.prepare(request).spec
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
            warnings=warnings,
        )

    def presets(self, *, dataset: str, representation: Representation) -> PresetListView:
        """Every preset's values for a dataset, or for a small one where none is named."""
        file_count = self._datasets.view(dataset).clips if dataset else 0
        return PresetListView(
            file_count=file_count,
            presets=[
                PresetView(
                    preset=preset,
                    recommended_for=recommended_for,
                    train=resolve_train_config(file_count=file_count, representation=representation, preset=preset),
                )
                for preset, recommended_for in RECOMMENDED_FOR.items()
            ],
        )

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


def _spec(request: PreprocessRequest | TrainRequest, dataset: DatasetSnapshot) -> JobSpec:
    if isinstance(request, PreprocessRequest):
        return PreprocessSpec(dataset=dataset, features=request.features)
    for field in sorted(_NOT_CHANGES & request.changes.keys()):
        raise ConfigError(f"changes.{field}: give {field} beside changes, not among them.", field=f"changes.{field}")
    return TrainSpec(dataset=dataset, train=_train_config(request, len(dataset.clips)))


def _train_config(request: TrainRequest, file_count: int) -> TrainConfig:
    try:
        return resolve_train_config(
            file_count=file_count,
            representation=request.representation,
            preset=request.preset,
            changes=request.changes,
        )
    except ConfigError as error:
        field = f"changes.{error.field}" if error.field else "changes"
        raise ConfigError(f"{field}: {str(error).removeprefix(f'{error.field}: ')}", field=field) from error


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
