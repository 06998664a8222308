"""Models in the record: the checkpoints of all jobs that stay, a page at a time, out of an index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session

from api.keeping.views import ModelListView, ModelView
from api.record.tables import Checkpoint, Job
from shared.config import Frozen, Representation
from shared.errors import ConfigError
from shared.events import CheckpointSaved


class ModelsQuery(Frozen):
    """Which models are listed."""

    q: Annotated[str, Field(max_length=200)] = ""
    """Part of a job's or a dataset's name."""
    dataset: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Id of a dataset."""
    representation: Literal["", Representation] = ""
    kept: Literal["", "best", "final", "pinned"] = ""
    """Why it stays; empty for any reason."""
    after: Annotated[str, Field(max_length=200)] = ""
    """`next` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


_MARKS: Final = {"best": Checkpoint.best, "final": Checkpoint.final, "pinned": Checkpoint.pinned}
_LARGEST_ID: Final = 2**31 - 1
_ORDER: Final = (Checkpoint.at, Checkpoint.job_id, Checkpoint.name)


def list_models(session: Session, query: ModelsQuery) -> ModelListView:
    """A page of models, newest first."""
    found = session.execute(
        select(Checkpoint, Job.name.label("job_name"), Job.dataset_id, Job.dataset_name)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Checkpoint.is_model, *_filters(query))
        .order_by(*(column.desc() for column in _ORDER))
        .limit(query.limit + 1)
    ).all()
    models = [_view(row.Checkpoint, row.job_name, row.dataset_id, row.dataset_name) for row in found[: query.limit]]
    last = models[-1] if len(found) > query.limit else None
    return ModelListView(models=models, next=f"{last.at!r}~{last.job}~{last.checkpoint}" if last else "")


def _filters(query: ModelsQuery) -> Sequence[ColumnElement[bool]]:
    filters = list[ColumnElement[bool]]()
    if query.kept:
        filters.append(_MARKS[query.kept].is_(True))
    if query.representation:
        filters.append(Checkpoint.representation == query.representation)
    if query.dataset is not None:
        filters.append(Checkpoint.job_id.in_(select(Job.id).where(Job.dataset_id == query.dataset)))
    if query.q:
        pattern = "%" + query.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        # Out of the index of the names: the rows of the jobs themselves are large.
        named = or_(Job.name.ilike(pattern, escape="\\"), Job.dataset_name.ilike(pattern, escape="\\"))
        filters.append(Checkpoint.job_id.in_(select(Job.id).where(named)))
    if query.after:
        filters.append(tuple_(*_ORDER) < tuple_(*_place(query.after)))
    return filters


def _place(text: str) -> tuple[float, int, str]:
    """What `next` of a page says."""
    refused = ConfigError("after: give what the page before says under `next`.", field="after")
    try:
        at, number, name = text.split("~")
        place = float(at), int(number), name
    except ValueError as error:
        raise refused from error
    if not math.isfinite(place[0]) or abs(place[1]) > _LARGEST_ID or "\0" in name:
        raise refused  # the database would not take it
    return place


def _view(row: Checkpoint, job_name: str, dataset_id: int, dataset_name: str) -> ModelView:
    body = CheckpointSaved.model_validate(row.body)
    return ModelView.model_validate(
        {
            "job": row.job_id,
            "job_name": job_name,
            "dataset": dataset_id,
            "dataset_name": dataset_name,
            "representation": row.representation,
            "checkpoint": row.name,
            "epoch": body.epoch,
            "step": body.step,
            "best": row.best,
            "final": row.final,
            "pinned": row.pinned,
            "val_reconstruction": body.val_reconstruction,
            "size_bytes": body.size_bytes,
            "at": row.at,
        }
    )
