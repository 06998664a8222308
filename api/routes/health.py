"""Whether the api lives, whether it can work, and what it offers."""

from __future__ import annotations

from typing import cast

from flask import Response, current_app, jsonify, request
from flask_openapi.openapi import OpenAPI

from api.access.roles import Role
from api.answers import answer
from api.routes.blueprint import Resource
from api.services import services
from shared.config import Frozen

health = Resource("health", "", asks=False)


class HealthView(Frozen):
    """Whether the process is alive."""

    status: str
    """ok, or what has ended in it."""


class ReadinessView(Frozen):
    """Whether what the api needs is there."""

    status: str
    """ok, or not ready."""
    checks: dict[str, str]
    """By dependency: nothing when it is well, else what is wrong; told to those who may look."""


@health.reads("/healthz", HealthView, statuses=(200, 503))
def get_health() -> Response:
    """The process answers, and all of its threads are there: else it should be started anew.

    What it depends on is no part of this: a Redis that is away comes back without a new start.
    """
    ended = services().core.readiness.ended()
    if ended:
        return answer(HealthView(status=f"{', '.join(ended)} ended: start the api anew."), 503)
    return answer(HealthView(status="ok"))


@health.reads("/readyz", ReadinessView, statuses=(200, 503))
def get_readiness() -> Response:
    """Redis, record and disk take what is written, and every part of the api gets on with its work."""
    checks = dict(services().core.readiness.checks())
    ready = not any(checks.values())
    if services().door.known(request.environ, Role.VIEWER) is None:
        # What is wrong tells of folders and machines.
        checks = {}
    return answer(ReadinessView(status="ok" if ready else "not ready", checks=checks), 200 if ready else 503)


@health.route("/openapi.json")
def get_openapi() -> Response:
    """The OpenAPI document."""
    return jsonify(cast(OpenAPI, current_app).api_doc)
