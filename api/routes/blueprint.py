"""A part of the HTTP API: flask-openapi's blueprint with types, and with the errors that any route may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from flask_openapi.types import ResponseDict
from pydantic import BaseModel

from api.answers import ERROR_STATUSES
from api.views import ErrorView

Route = TypeVar("Route", bound=Callable[..., Response])

FILE: Final = {"type": "string", "format": "binary"}
"""Schema of bytes."""


class Resource(APIBlueprint):
    """The routes under `prefix`. Their functions get `path`, `query` and `body` by the models they annotate."""

    def __init__(self, name: str, prefix: str, *, asks: bool = True) -> None:
        """Whether it `asks` for a token is for the description; who may is in `api.routes.access`."""
        errors: ResponseDict = dict.fromkeys(ERROR_STATUSES, ErrorView)
        security = [{"token": list[str]()}] if asks else None
        super().__init__(
            name,
            __name__,
            url_prefix=prefix,
            abp_responses=errors,
            abp_tags=[Tag(name=name)],
            abp_security=security,
        )

    def reads(self, rule: str, view: type[BaseModel], *, statuses: Sequence[int] = (200,)) -> Callable[[Route], Route]:
        """A GET route that answers with `view`."""
        responses: ResponseDict = dict.fromkeys(statuses, view)
        return cast(Callable[[Route], Route], self.get(rule, responses=responses))

    def sends(self, rule: str, media_type: str) -> Callable[[Route], Route]:
        """A GET route that answers with a file."""
        content = {"content": {media_type: {"schema": FILE}}}
        return cast(Callable[[Route], Route], self.get(rule, responses={200: content}))

    def does(
        self, rule: str, view: type[BaseModel], *, status: int = 200, takes: Mapping[str, Any] | None = None
    ) -> Callable[[Route], Route]:
        """A POST route that answers with `view`; `takes` describes a body that is no JSON model."""
        body = None if takes is None else dict(takes)
        return cast(Callable[[Route], Route], self.post(rule, responses={status: view}, request_body=body))

    def brings(self, rule: str, view: type[BaseModel]) -> Callable[[Route], Route]:
        """A PUT route that takes bytes and answers with `view`."""
        content = {"required": True, "content": {"application/octet-stream": {"schema": FILE}}}
        return cast(Callable[[Route], Route], self.put(rule, responses={200: view}, request_body=content))

    def removes(self, rule: str, view: type[BaseModel]) -> Callable[[Route], Route]:
        """A DELETE route that answers with `view`."""
        return cast(Callable[[Route], Route], self.delete(rule, responses={200: view}))
