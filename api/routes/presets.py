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

presets = Resource("presets", f"{API}/presets")


class PresetsQuery(Frozen):
    """For what the presets are resolved."""

    dataset: Annotated[str, Field(max_length=200)] = ""
    """Id or name of a dataset; empty for a small one."""
    representation: Representation = "mel"


@presets.reads("", PresetListView)
def list_presets(query: PresetsQuery) -> Response:
    """Every preset's values for a dataset."""
    return answer(services().submission.presets(dataset=query.dataset, representation=query.representation))
