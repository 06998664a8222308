"""Models: the checkpoints of all jobs that stay."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.keeping.views import ModelListView
from api.record.models import ModelsQuery, list_models
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services

models = Resource("models", f"{API}/models")


@models.reads("", ModelListView)
def get_models(query: ModelsQuery) -> Response:
    """Best, final and pinned checkpoints of all jobs, newest first."""
    with services().core.database.reading() as session:
        return answer(list_models(session, query))
