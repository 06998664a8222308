"""How the API answers: a view as JSON, and every failure as an ErrorView with one sentence and no internals."""

from __future__ import annotations

import errno
import json
from typing import Any, Final, cast

import structlog
from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider
from pydantic import BaseModel, ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from typing_extensions import override
from werkzeug.exceptions import ClientDisconnected, HTTPException

from api.views import ErrorView
from shared.config import config_error
from shared.errors import SpectrainError, TooManyError

log = structlog.get_logger(__name__)

ERROR_STATUSES: Final = (401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 507)
"""What any route may answer with, each with an ErrorView."""

_SENTENCES: Final = {
    404: "There is nothing at this address.",
    405: "This address does not know that method.",
    408: "The request broke off, or nothing more of it came for too long: send it again.",
    413: "The request is larger than what is accepted.",
    415: "Send the body as JSON, with Content-Type: application/json.",
}
_FULL: Final = "The disk is full: free some space and try again."
_REDIS_FULL: Final = (
    "Redis cannot write to its disk, most likely because the disk is full: free some space and try again."
)


def answer(view: BaseModel, status: int = 200) -> Response:
    """`view` as JSON."""
    return Response(view.model_dump_json(), status=status, mimetype="application/json")


def error_answer(status: int, sentence: str, *, field: str = "") -> Response:
    """An ErrorView."""
    return answer(ErrorView(error=sentence, field=field), status)


def invalid_request(error: ValidationError) -> Response:
    """422 with the dotted name of the first wrong field."""
    first = error.errors(include_url=False)[0]
    # Which member of the union it was is no part of the field's name.
    path = [str(part) for part in first["loc"] if part not in _KINDS]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found") and isinstance(first["input"], dict):
        field = ".".join([*path, "kind"])
        return error_answer(422, f"{field}: say which kind of job it is, preprocess or train.", field=field)
    if not isinstance(first["input"], dict) and not path:
        return error_answer(422, "Send a JSON object as the body, with Content-Type: application/json.")
    explained, field = config_error(error), ".".join(path)
    sentence = str(explained).removeprefix(f"{explained.field}: ")
    return error_answer(422, f"{field}: {sentence}" if field else sentence, field=field)


_KINDS: Final = ("preprocess", "train")


class StrictJson(DefaultJSONProvider):
    """JSON as the standard has it: no NaN, and nesting that is too deep is an error like any other."""

    @override
    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return json.loads(s, parse_constant=_refuse_constant, **kwargs)
        except RecursionError as error:
            raise ValueError("The JSON is nested too deeply.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON.")


def register_error_answers(app: Flask) -> None:
    """Turn whatever leaves a route as an exception into an ErrorView."""
    app.register_error_handler(SpectrainError, answer_of)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(RedisError, _of_redis)
    app.register_error_handler(OperationalError, _of_database)
    app.register_error_handler(OSError, _of_system)
    app.register_error_handler(Exception, _unexpected)


def answer_of(error: SpectrainError) -> Response:
    """What an error of ours says, with the headers that go with its status."""
    if error.http_status >= 500:
        log.error("request.failed", path=request.path, error=str(error))
    response = error_answer(error.http_status, str(error), field=cast(str, getattr(error, "field", "")))
    if isinstance(error, TooManyError):
        response.headers["Retry-After"] = str(error.retry_after_s)
    elif error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _of_http(error: HTTPException) -> Response:
    if error.response is not None and isinstance(error.response, Response):
        return error.response
    status = 408 if isinstance(error, ClientDisconnected) else error.code or 500
    response = error_answer(status, _SENTENCES.get(status) or error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "location", "content-range"):
            response.headers[name] = value
    return response


def _of_redis(error: RedisError) -> Response:
    if "MISCONF" in str(error):
        # It refuses writes for as long as its append-only file cannot be written.
        return error_answer(507, _REDIS_FULL)
    log.warning("request.redis", path=request.path, error=str(error))
    return error_answer(503, "Redis does not answer: try again in a moment.")


def _of_database(error: OperationalError) -> Response:
    if "full" in str(error.orig):
        return error_answer(507, _FULL)
    log.error("request.record", path=request.path, error=str(error.orig))
    return error_answer(503, "The record does not answer: try again in a moment.")


def _of_system(error: OSError) -> Response:
    return error_answer(507, _FULL) if error.errno in (errno.ENOSPC, errno.EDQUOT) else _unexpected(error)


def _unexpected(error: Exception) -> Response:
    log.error("request.crashed", path=request.path, method=request.method, exc_info=error)
    return error_answer(500, "Something went wrong in the api; its log has the details.")
