"""The id of a request: accepted where it is well-formed, made otherwise, in every answer and in every line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.logging_here import configured_logs

MADE = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
def written() -> Iterator[StringIO]:
    with configured_logs("debug") as stream:
        yield stream


def lines(written: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.parametrize("given", ["7", "01HZX-5", "a.b:c/d_e+f=", "x" * 128])
def test_an_id_that_is_well_formed_is_kept(client: FlaskClient, written: StringIO, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers.getlist("X-Request-ID") == [given]
    assert [line["request"] for line in lines(written)] == [given]


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "-x", "ü", '"', "a\tb"])
def test_any_other_is_replaced(client: FlaskClient, given: str) -> None:
    assert MADE.fullmatch(client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"])


def test_each_request_has_its_own(client: FlaskClient) -> None:
    assert len({client.get("/healthz").headers["X-Request-ID"] for _ in range(5)}) == 5


def test_a_refusal_has_one_too(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers={"Host": "evil.example", "X-Request-ID": "abc"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (403, "abc")


def test_a_line_about_a_job_names_it_and_the_next_does_not(client: FlaskClient, written: StringIO) -> None:
    client.post("/api/v1/jobs/77/cancel", headers={"X-Request-ID": "one"})
    client.get("/healthz", headers={"X-Request-ID": "two"})
    about_job, about_none = lines(written)
    assert (about_job["job"], about_job["request"], about_job["status"]) == (77, "one", 404)
    assert (about_job["method"], about_job["path"], about_job["level"]) == ("POST", "/api/v1/jobs/77/cancel", "info")
    assert about_none["request"] == "two"
    assert about_none["level"] == "debug", "who only looks makes no noise"
    assert "job" not in about_none
