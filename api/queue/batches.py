"""Many jobs at once: a batch of any jobs, a sweep over datasets and values. All of them are submitted, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from api.queue.submission import NOT_CHANGES, Submission, within
from api.record.jobs import JobRecord
from api.views import BatchView, SweepCheckView
from shared.config import TrainConfig, config_error
from shared.errors import ConfigError, NotFoundError
from shared.jobs import JobRequestAdapter, PreprocessRequest, TrainRequest
from shared.queue_requests import MAX_BATCH, BatchRequest, SweepRequest

Values = Mapping[str, Any]
"""One value of each field that is varied."""

_MAX_NAME: Final = 200

Item = TypeVar("Item")
Done = TypeVar("Done")


class Batches:
    """Submits batches and sweeps into `record`."""

    def __init__(self, *, record: JobRecord, submission: Submission) -> None:
        self._record = record
        self._submission = submission

    def submit(self, request: BatchRequest, *, by: str = "") -> BatchView:
        """Submit jobs in their order, in the name of `by`; a refusal names one, as `jobs.3.changes.epochs`."""
        return self._record.submit_batch(self._submission.prepare_all(request.jobs, by=by))

    def sweep(self, request: SweepRequest, *, by: str = "") -> BatchView:
        """Submit a job for every combination; a refusal names `job`, `datasets` or `vary` and what is in them."""
        return self._record.submit_batch(_for_each(request, partial(self._submission.prepare_all, by=by)))

    def check(self, request: SweepRequest) -> SweepCheckView:
        """What a sweep would come to; refuses as `sweep` does, and submits nothing."""
        return _for_each(request, self._submission.check_all)


def _for_each(request: SweepRequest, do: Callable[[Sequence[PreprocessRequest | TrainRequest]], Done]) -> Done:
    """Do it to the requests of all combinations; what it refuses is named as a part of the sweep."""
    combinations = list(_combinations(request))
    requests = [_varied(request, dataset, values) for dataset, values in combinations]
    try:
        return do(requests)
    except (ConfigError, NotFoundError) as error:
        raise _in_sweep(request, combinations, error) from error


def _combinations(request: SweepRequest) -> Iterator[tuple[str, Values]]:
    """Datasets in their order, and for each the product of the values, the last field changing fastest."""
    if request.vary and isinstance(request.job, PreprocessRequest):
        raise ConfigError("vary: a preprocess job has no values to vary: vary those of trainings.", field="vary")
    for name, values in request.vary.items():
        _check_field(name, request.job)
        if len(_distinct(values)) < len(values):
            raise ConfigError(f"vary.{name}: leave out values that are there twice.", field=f"vary.{name}")
    datasets = request.datasets or [request.job.dataset]
    if len(set(datasets)) < len(datasets):
        raise ConfigError("datasets: leave out names that are there twice.", field="datasets")
    count = len(datasets) * prod(len(values) for values in request.vary.values())
    if count > MAX_BATCH:
        raise ConfigError(f"vary: these are {count:,} jobs, and at most {MAX_BATCH:,} can be made.", field="vary")
    for dataset in datasets:
        for chosen in product(*request.vary.values()):
            yield dataset, dict(zip(request.vary, chosen, strict=True))


def _check_field(name: str, job: PreprocessRequest | TrainRequest) -> None:
    first = name.partition(".")[0]
    if first not in TrainConfig.model_fields:
        raise ConfigError(f"vary.{name}: there is no such field.", field=f"vary.{name}")
    if isinstance(job, TrainRequest) and job.start is not None and name == "representation":
        raise ConfigError(
            "vary.representation: it is that of the model that is started from.", field="vary.representation"
        )


def _distinct(values: Sequence[Any]) -> list[Any]:
    """`values` without those that are there already; 1, 1.0 and true are three values."""
    kept: list[Any] = []
    for value in values:
        if not any(type(value) is type(other) and value == other for other in kept):
            kept.append(value)
    return kept


def _varied(request: SweepRequest, dataset: str, values: Values) -> PreprocessRequest | TrainRequest:
    job = request.job
    changed: dict[str, Any] = {"dataset": dataset}
    if isinstance(job, TrainRequest):
        changes: dict[str, Any] = dict(job.changes)
        for name, value in values.items():
            if name in NOT_CHANGES:
                changed[name] = value
            else:
                _set(changes, name.split("."), value)
        changed["changes"] = changes
    changed["name"] = _name(request, dataset, values, str(changed.get("representation", "")))
    try:
        # What is varied may be anything: it is checked like a request that came in.
        return JobRequestAdapter.validate_python({**job.model_dump(exclude_unset=True), "kind": job.kind, **changed})
    except ValidationError as error:
        explained = config_error(error)
        field = explained.field.removeprefix(f"{job.kind}.")
        said = str(explained).removeprefix(f"{explained.field}: ")
        where = "vary" if field.partition(".")[0] in values else "job"
        raise ConfigError(f"{where}.{field}: {said}", field=f"{where}.{field}") from error


def _set(changes: dict[str, Any], path: list[str], value: Any) -> None:
    """Put a value where a dotted name says; what lies around it is copied, not changed."""
    first, *rest = path
    if not rest:
        changes[first] = value
        return
    inner = changes.get(first)
    changes[first] = dict(inner) if isinstance(inner, dict) else {}
    _set(changes[first], rest, value)


def _name(request: SweepRequest, dataset: str, values: Values, representation: str) -> str:
    """What a job is about, with the values that tell it from the others: "drums mel, latent_dim 32"."""
    job = request.job
    if job.name:
        parts = [job.name, *([dataset] if len(request.datasets) > 1 else [])]
    else:
        what = (representation or job.representation) if isinstance(job, TrainRequest) else "features"
        parts = [f"{dataset} {what}"]
    said = {name: value for name, value in values.items() if job.name or name != "representation"}
    parts += [f"{name} {_text(value)}" for name, value in said.items()]
    return ", ".join(parts)[:_MAX_NAME]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_sweep(
    request: SweepRequest, combinations: Sequence[tuple[str, Values]], error: ConfigError | NotFoundError
) -> ConfigError | NotFoundError:
    """`error` of one of the jobs, by the name of what in the sweep led to it."""
    _, index, *rest = error.field.split(".")
    dataset, values = combinations[int(index)]
    inner = ".".join(rest)
    said = str(error).removeprefix(f"{error.field}: ")
    name = inner.removeprefix("changes.")
    if inner == "dataset" and request.datasets:
        return type(error)(f"datasets: {said}", field=f"datasets.{request.datasets.index(dataset)}")
    if name in values:
        return type(error)(f"vary.{name}: {_text(values[name])}: {said}", field=f"vary.{name}")
    return within("job", type(error)(f"{inner}: {said}", field=inner))
