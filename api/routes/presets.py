"""Presets: the values of the New job form."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.views import PresetListView
from shared.config import Frozen, Representation
from shared.jobs import StartRequest

presets = Resource("presets", f"{API}/presets")


class PresetsQuery(Frozen):
    """For what the presets are resolved."""

    dataset: Annotated[str, Field(max_length=200)] = ""
    """Id or name of a dataset; empty for a small one."""
    representation: Representation = "mel"
    start: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Job to start from: its model then decides what it must, the representation included."""
    checkpoint: Annotated[str, Field(max_length=64)] = ""
    """Name of that job's checkpoint; empty for its best one."""


@presets.reads("", PresetListView)
def list_presets(query: PresetsQuery) -> Response:
    """Every preset's values for a dataset."""
    start = None if query.start is None else StartRequest(job=query.start, checkpoint=query.checkpoint)
    return answer(
        services().submission.presets(dataset=query.dataset, representation=query.representation, start=start)
    )
