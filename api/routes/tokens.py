"""Tokens that let workers join from other machines."""

from __future__ import annotations

import time

from flask import Response, request

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, TokenPath
from api.services import services
from api.views import NewTokenView, TokenListView, TokenRequest, TokenView
from api.workers.invitation import join_command, server_address

tokens = Resource("tokens", f"{API}/tokens")

_DAY_S = 86_400.0


@tokens.reads("", TokenListView)
def list_tokens() -> Response:
    """List tokens, newest first, without their secrets."""
    return answer(TokenListView(tokens=services().tokens.list()))


@tokens.does("", NewTokenView, status=201)
def create_token(body: TokenRequest) -> Response:
    """Make a token; its secret is in this answer alone."""
    name = body.name.strip() or f"worker {time.strftime('%Y-%m-%d %H:%M')}"
    expires_at = None if body.days is None else time.time() + body.days * _DAY_S
    made = services().tokens.create(name=name, expires_at=expires_at)
    server, note = server_address(services().core.settings, request.host_url, request.headers.get("Origin", ""))
    return answer(made.model_copy(update={"command": join_command(server, made.secret), "note": note}), 201)


@tokens.does(f"/<{ID}:token_id>/revoke", TokenView)
def revoke_token(path: TokenPath) -> Response:
    """Make a token worthless from now on, and cut off what joined with it."""
    revoked = services().tokens.revoke(path.token_id)
    services().core.joined.forget_token(path.token_id)
    return answer(revoked)
