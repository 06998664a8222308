"""From what a person asks for to the frozen specification of a job, and to what it comes to before it is submitted."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from redis.exceptions import RedisError

from api.keeping.arrivals import Arrivals
from api.queue.capable import what_is_lacking
from api.queue.estimate import EarlierTraining, memory_bytes, seconds
from api.queue.fitting import Needs
from api.queue.start_points import Start, StartPoints
from api.record.datasets import DatasetRecord
from api.record.jobs import JobRecord, NewJob
from api.views import CheckView, PresetListView, PresetView, SweepCheckView, WorkerView
from shared.config import PresetName, Representation, TrainConfig
from shared.errors import ConfigError, NotFoundError
from shared.jobs import (
    DatasetSnapshot,
    JobSpec,
    PreprocessRequest,
    PreprocessSpec,
    StartPoint,
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
_MOST_CLIPS: Final = 300_000
"""Clips of all jobs up to which a check plans each of them, which takes a second."""
NOT_CHANGES: Final = frozenset({"representation", "preset"})
"""Fields of TrainConfig that a request has a place of its own for."""
_FOLLOWED: Final = frozenset({"objective", "latent_dim", "chunk_s", "spectrogram", "mask_threshold"})
"""Fields of TrainConfig that a training takes over from the model that it starts from, unless it is asked otherwise."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What of an earlier job a new specification keeps."""

    train: TrainConfig | None = None
    start: StartPoint | None = None
    """The very checkpoint that it started from, which may be gone from where it was."""
    dataset: DatasetSnapshot | None = None
    """Unset: the dataset as it is now."""


class _Known:
    """What was looked up while several requests are resolved: each dataset, each start, the jobs to wait for."""

    def __init__(self) -> None:
        self.datasets: dict[str, DatasetSnapshot] = {}
        self.starts: dict[StartRequest, Start] = {}
        self.jobs: set[int] = set()


class Submission:
    """Resolves requests against the datasets and the models that are there; `workers` tells who is online."""

    def __init__(
        self,
        *,
        datasets: DatasetRecord,
        starts: StartPoints,
        jobs: JobRecord,
        workers: Callable[[], list[WorkerView]],
        arrivals: Arrivals,
    ) -> None:
        self._arrivals = arrivals
        self._datasets = datasets
        self._starts = starts
        self._jobs = jobs
        self._workers = workers

    def prepare(
        self, request: PreprocessRequest | TrainRequest, *, settled: Settled | None = None, by: str = ""
    ) -> NewJob:
        """The job that `request` asks for in the name of `by`, with the weights that it starts from kept for it.

        Raises NotFoundError for its dataset, for what it starts from and what it waits for, ConfigError for the rest.
        """
        job = replace(self._job(request, _Known(), settled), submitted_by=by)
        self._keep([job])
        return job

    def prepare_all(self, requests: Sequence[PreprocessRequest | TrainRequest], *, by: str = "") -> list[NewJob]:
        """The same for several, each dataset looked at once; a refusal names the request, as `jobs.3.device`."""
        jobs = [replace(job, submitted_by=by) for job in self._jobs_of(requests)]
        self._keep(jobs)
        return jobs

    def check(self, request: PreprocessRequest | TrainRequest) -> CheckView:
        """What `request` comes to; raises as `prepare` does, and writes nothing but the dataset's version."""
        return self._comes_to(request, self._job(request, _Known()).spec)

    def check_all(self, requests: Sequence[PreprocessRequest | TrainRequest]) -> SweepCheckView:
        """What several come to; a refusal names the request, as `jobs.3.device`, and nothing is kept."""
        specs = [job.spec for job in self._jobs_of(requests)]
        first = self._comes_to(requests[0], specs[0])
        check = SweepCheckView(**first.model_dump(), jobs=len(specs))
        if sum(len(spec.dataset.clips) for spec in specs) > _MOST_CLIPS:
            return check
        earlier: dict[Representation, EarlierTraining | None] = {}
        steps, lasting = 0, list[float | None]()
        for spec in specs:
            if isinstance(spec, TrainSpec):
                planned, representation = plan_training(spec.dataset.clips, spec.train), spec.train.representation
                if representation not in earlier:
                    earlier[representation] = self._jobs.earlier_training(representation)
                steps += planned.total_steps
                lasting.append(seconds(spec.train, planned, earlier[representation]))
        known = [each for each in lasting if each is not None]
        all_seconds = sum(known) if known and len(known) == len(lasting) else None
        return check.model_copy(update={"all_steps": steps, "all_seconds": all_seconds})

    def _comes_to(self, request: PreprocessRequest | TrainRequest, spec: JobSpec) -> CheckView:
        clips = spec.dataset.clips
        warnings = _corpus_warnings(spec) + self._device_warnings(
            Needs(device=request.device, placement=request.placement)
        )
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
            memory_bytes=memory_bytes(spec.train, clips, planned, starts_anew=spec.start is None),
            seconds=seconds(spec.train, planned, self._jobs.earlier_training(spec.train.representation)),
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

    def _jobs_of(self, requests: Sequence[PreprocessRequest | TrainRequest]) -> list[NewJob]:
        known = _Known()
        jobs: list[NewJob] = []
        for index, request in enumerate(requests):
            try:
                jobs.append(self._job(request, known))
            except (ConfigError, NotFoundError) as error:
                raise within(f"jobs.{index}", error) from error
        return jobs

    def _job(self, request: PreprocessRequest | TrainRequest, known: _Known, settled: Settled | None = None) -> NewJob:
        spec = self._spec(request, known, settled or Settled())
        features = spec.train.features() if isinstance(spec, TrainSpec) else spec.features
        self._arrivals.expect(f"features/{features.cache_key(spec.dataset.version_hash)}")
        if new := [job_id for job_id in request.after if job_id not in known.jobs]:
            self._jobs.check_known(new)
            known.jobs.update(new)
        if isinstance(request, TrainRequest) and isinstance(spec, TrainSpec):
            # What followed the model that it starts from is said from now on.
            request = request.model_copy(update={"representation": spec.train.representation})
        return NewJob(name=job_name(request, spec), spec=spec, request=request)

    def _spec(self, request: PreprocessRequest | TrainRequest, known: _Known, settled: Settled) -> JobSpec:
        dataset = settled.dataset or known.datasets.get(request.dataset)
        if dataset is None:
            dataset = known.datasets[request.dataset] = self._filled(request.dataset)
        if isinstance(request, PreprocessRequest):
            return PreprocessSpec(dataset=dataset, features=request.features)
        for name in sorted(NOT_CHANGES & request.changes.keys()):
            raise ConfigError(f"changes.{name}: give {name} beside changes, not among them.", field=f"changes.{name}")
        start = None if request.start is None else self._start(request.start, known, settled)
        train = _train_config(request, len(dataset.clips), start)
        if start is not None and (difference := incompatibility(start.train, train)):
            raise ConfigError(
                f"This training does not fit job {start.point.job_id}. {difference}"
                " Leave that setting out to keep the model's, or start from new weights.",
                field="start",
            )
        return TrainSpec(dataset=dataset, train=train, start=start.point if start else None)

    def _start(self, request: StartRequest, known: _Known, settled: Settled) -> Start:
        if settled.start is None or settled.train is None:
            if request not in known.starts:
                known.starts[request] = self._starts.find(request)
            return known.starts[request]
        point = settled.start
        try:
            found = self._starts.find(StartRequest(job=point.job_id, checkpoint=point.checkpoint))
        except (ConfigError, NotFoundError):
            # Its weights were kept, and the earlier job has the same shape.
            return Start(point=point, train=settled.train)
        return Start(point=point, train=found.train)

    def _keep(self, jobs: Sequence[NewJob]) -> None:
        starts = [job.spec.start for job in jobs if isinstance(job.spec, TrainSpec) and job.spec.start is not None]
        for point in {point.sha256: point for point in starts}.values():
            self._starts.keep(point)

    def _filled(self, key: str) -> DatasetSnapshot:
        try:
            dataset = self._datasets.snapshot(key)
        except NotFoundError as error:
            raise NotFoundError(f"dataset: {_lowered(str(error))}", field="dataset") from error
        if not dataset.clips:
            raise ConfigError(f"Dataset {dataset.name!r} has no files yet: add some first.", field="dataset")
        return dataset

    def _device_warnings(self, needs: Needs) -> list[str]:
        try:
            lack = what_is_lacking(self._workers(), needs)
        except RedisError:
            return ["Redis does not answer, so the job will wait until it does."]
        return [lack] if lack else []


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


def job_name(request: PreprocessRequest | TrainRequest, spec: JobSpec) -> str:
    """The name that was asked for on one line, else one made of what the job is about."""
    what = spec.train.representation if isinstance(spec, TrainSpec) else "features"
    return _one_line(request.name) or f"{spec.dataset.name} {what}"[-200:]


def within(where: str, error: ConfigError | NotFoundError) -> ConfigError | NotFoundError:
    """`error` of a part of a request, with the place of that part in front of its field."""
    field = f"{where}.{error.field}" if error.field else where
    said = str(error).removeprefix(f"{error.field}: ") if error.field else str(error)
    return type(error)(f"{field}: {said}", field=field)


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _one_line(name: str) -> str:
    return " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in name).split())
