"""Models: the checkpoints of all jobs that stay, and those that come from outside."""

from __future__ import annotations

from typing import Annotated

from flask import Response, request
from pydantic import Field

from api.answers import answer
from api.keeping.views import ModelListView
from api.record.models import ModelsQuery, list_models
from api.routes.access import submitter
from api.routes.blueprint import FILE, Resource
from api.routes.parameters import API
from api.services import services
from api.views import JobDetailView
from shared.config import Frozen

models = Resource("models", f"{API}/models")


@models.reads("", ModelListView)
def get_models(query: ModelsQuery) -> Response:
    """Best, final and pinned checkpoints of all jobs, newest first."""
    with services().core.database.reading() as session:
        return answer(list_models(session, query))


class ImportQuery(Frozen):
    """What is imported."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """What its job is called."""


@models.does(
    "/import",
    JobDetailView,
    status=201,
    takes={"required": True, "content": {"application/octet-stream": {"schema": FILE}}},
)
def import_model(query: ImportQuery) -> Response:
    """Take in a model that was trained elsewhere, as a safetensors file, to start trainings from."""
    parts = services()
    request.max_content_length = parts.core.settings.max_upload_bytes
    job_id = parts.imports.receive(query.name, request.stream, request.content_length, by=submitter())
    parts.core.job_changed(job_id)
    return answer(parts.core.jobs.get(job_id), 201)
