"""The OpenAPI document is whole: every route is in it, and everything that it refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from flask import Flask
from flask_openapi.models import OpenAPISpec

from api import app as application
from api import views
from api.app import openapi_document
from shared.config import Frozen

UNDESCRIBED = {"/openapi.json", "/login"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield cast(dict[str, Any], value)
        for inner in value.values():
            yield from nodes(inner)
    if isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, item in document["paths"].items() for operation in item.values()]


def test_it_is_a_document_of_its_version(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    OpenAPISpec.model_validate(document)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    app: Flask = application._bare_app()
    served = {
        (re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in UNDESCRIBED
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert served == described


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        assert reference.startswith("#/components/schemas/")
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_view_is_described(document: dict[str, Any]) -> None:
    made = {
        name
        for name, value in vars(views).items()
        if isinstance(value, type) and issubclass(value, Frozen) and value.__module__ == views.__name__
    }
    assert made <= document["components"]["schemas"].keys()
    assert {"Event", "StepMetrics", "TrainRequest", "PreprocessRequest", "ResumeRequest"} <= document["components"][
        "schemas"
    ].keys()


def test_every_parameter_of_an_address_is_described(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path


def test_operations_can_be_told_apart_and_answer(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, operation in operations(document):
        assert operation["summary"], path
        assert {"200", "201"} & operation["responses"].keys(), path
        for status, answer in operation["responses"].items():
            if status.startswith("4"):
                [content] = answer["content"].values()
                assert content["schema"]["$ref"].endswith("/ErrorView"), path
