"""Every number and every text that a request or a setting may say has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from api.app import openapi_document
from shared.config import TrainConfig
from shared.settings import Settings


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and schema of every number that comes in: in bodies, however deep, and in queries."""
    document = openapi_document()
    schemas: dict[str, dict[str, Any]] = document["components"]["schemas"]
    seen = set[str]()

    def numbers(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        reference = schema.get("$ref")
        if reference:
            target = reference.rpartition("/")[2]
            if target not in seen:
                seen.add(target)
                yield from numbers(target, schemas[target])
            return
        if schema.get("type") in ("integer", "number"):
            yield name, schema
        for field, inner in schema.get("properties", {}).items():
            yield from numbers(f"{name}.{field}", inner)
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for inner in schema.get(key, []):
                yield from numbers(name, inner)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from numbers(name, cast(dict[str, Any], schema[key]))

    for path, item in document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    yield from numbers(f"{method} {path} {parameter['name']}", parameter["schema"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from numbers(f"{method} {path}", content["schema"])
    yield from numbers("TrainConfig", without_references(TrainConfig.model_json_schema()))


def without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to in its place."""
    definitions = schema.get("$defs", {})

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            named = cast(dict[str, Any], value).get("$ref")
            if named:
                return filled(definitions[named.rpartition("/")[2]])
            return {key: filled(inner) for key, inner in value.items() if key != "$defs"}
        return [filled(inner) for inner in value] if isinstance(value, list) else value

    return filled(schema)


def is_bounded(schema: dict[str, Any]) -> bool:
    below = "minimum" in schema or "exclusiveMinimum" in schema
    return ("const" in schema or "enum" in schema) or (below and ("maximum" in schema or "exclusiveMaximum" in schema))


def test_every_number_of_a_request_is_bounded() -> None:
    found = list(inputs())
    assert len(found) > 40
    assert [name for name, schema in found if not is_bounded(schema)] == []


def test_every_number_of_the_settings_is_bounded() -> None:
    fields = without_references(Settings.model_json_schema())["properties"]
    numbers = {
        name: [each for each in (schema, *schema.get("anyOf", [])) if each.get("type") in ("integer", "number")]
        for name, schema in fields.items()
    }
    assert sum(map(len, numbers.values())) > 10
    assert [name for name, schemas in numbers.items() for each in schemas if not is_bounded(each)] == []


@pytest.mark.parametrize("wrong", [1e400, -1, 1 << 70])
def test_what_lies_beyond_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="epochs"):
        TrainConfig.model_validate({"epochs": wrong})
