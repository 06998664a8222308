"""Tokens over HTTP: made once, listed without their secrets, revoked, expired."""

from __future__ import annotations

import time
from typing import NoReturn

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from api.access.tokens import Tokens, bearer
from shared.errors import AccessError
from tests.unit.api.conftest import TwinCore


@pytest.fixture
def tokens(core: TwinCore) -> Tokens:
    return Tokens(core.database)


def test_a_token_is_told_once_and_counts_until_it_is_revoked(client: FlaskClient, tokens: Tokens) -> None:
    made = client.post("/api/v1/tokens", json={"name": "studio"})
    assert made.status_code == 201
    secret, token_id = made.json["secret"], made.json["id"]
    listed = client.get("/api/v1/tokens")
    assert [token["name"] for token in listed.json["tokens"]] == ["studio"]
    assert secret not in listed.text, "nobody reads a secret a second time"
    assert tokens.holder(secret).token_id == token_id
    assert tokens.list()[0].last_used_at is not None

    assert client.post(f"/api/v1/tokens/{token_id}/revoke").json["revoked_at"] > 0
    with pytest.raises(AccessError, match="revoked"):
        tokens.holder(secret)


def test_an_unknown_or_expired_token_is_refused(tokens: Tokens) -> None:
    expired = tokens.create(name="old", expires_at=time.time() - 1)
    with pytest.raises(AccessError, match="expired"):
        tokens.holder(expired.secret)
    for secret in ("", "spt_" + "x" * 43, expired.secret + "x"):
        with pytest.raises(AccessError, match="not known"):
            tokens.holder(secret)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic abc"])
def test_a_request_without_a_bearer_token_says_how_to_send_one(header: str | None) -> None:
    with pytest.raises(AccessError, match="Bearer TOKEN"):
        bearer(header)
    assert bearer("bearer abc ") == "abc"


def test_a_token_that_is_not_there_cannot_be_revoked(client: FlaskClient) -> None:
    assert client.post("/api/v1/tokens/7/revoke").status_code == 404


def test_a_token_counts_for_thirty_days_unless_somebody_says_otherwise(client: FlaskClient) -> None:
    def days(**said: float | None) -> float | None:
        made = client.post("/api/v1/tokens", json=said).json
        return None if made["expires_at"] is None else (made["expires_at"] - made["created_at"]) / 86_400

    assert days() == pytest.approx(30.0, abs=1e-3)
    assert days(days=7) == pytest.approx(7.0, abs=1e-3)
    assert days(days=None) is None
    assert client.post("/api/v1/tokens", json={"days": 0}).status_code == 422


def test_a_full_disk_keeps_no_worker_from_reading(core: TwinCore, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(core.database)
    secret = tokens.create(name="studio").secret

    def full() -> NoReturn:
        raise OperationalError("UPDATE", {}, OSError("database or disk is full"))

    monkeypatch.setattr(core.database, "session", full)
    assert tokens.holder(secret).name == "studio"
