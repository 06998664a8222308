"""Tokens: of people, of their programs, of workers on other machines."""

from __future__ import annotations

import time

import structlog
from flask import Response, request

from api.access.roles import Role
from api.access.views import NewTokenView, TokenListView, TokenRequest, TokenView
from api.answers import answer
from api.routes.access import asking
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, TokenPath
from api.services import services
from api.workers.invitation import join_command, server_address

tokens = Resource("tokens", f"{API}/tokens")

_DAY_S = 86_400.0

log = structlog.get_logger(__name__)


@tokens.reads("", TokenListView)
def list_tokens() -> Response:
    """List tokens, newest first, without their secrets."""
    return answer(TokenListView(tokens=services().tokens.list()))


@tokens.does("", NewTokenView, status=201)
def create_token(body: TokenRequest) -> Response:
    """Make a token; its secret is in this answer alone."""
    role = Role(body.role)
    name = body.name.strip() or f"{role} {time.strftime('%Y-%m-%d %H:%M')}"
    expires_at = None if body.days is None else time.time() + body.days * _DAY_S
    made = services().tokens.create(name=name, role=role, expires_at=expires_at)
    log.info("access.token_made", token=made.id, role=role, by=asking().token_id)
    if role is not Role.WORKER:
        return answer(made, 201)
    server, note = server_address(services().core.settings, request.host_url, request.headers.get("Origin", ""))
    return answer(made.model_copy(update={"command": join_command(server, made.secret), "note": note}), 201)


@tokens.does(f"/<{ID}:token_id>/revoke", TokenView)
def revoke_token(path: TokenPath) -> Response:
    """Make a token worthless from now on, and cut off who came with it: browsers and machines."""
    revoked = services().tokens.revoke(path.token_id)
    log.info("access.token_revoked", token=path.token_id, by=asking().token_id)
    services().core.access.wake()
    services().core.joined.forget_token(path.token_id)
    return answer(revoked)
