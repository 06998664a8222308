"""The application as others reach it over a network, where whoever asks shows a token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from flask_socketio import SocketIO
from werkzeug.test import TestResponse

from api.access.roles import Role
from api.access.tokens import Tokens
from api.app import create_app

if TYPE_CHECKING:
    from tests.unit.api.conftest import TwinCore

SERVER: Final = "http://192.0.2.7:8000"
ADDRESS: Final = "192.0.2.7"


class Network:
    """The application as it is on a network, and who asks it."""

    def __init__(self, core: TwinCore, app: OpenAPI, sockets: SocketIO) -> None:
        self.core, self.app, self.sockets = core, app, sockets
        self.tokens = Tokens(core.database)
        self.client = app.test_client()

    def ask(self, method: str, path: str, *, token: str = "", client: FlaskClient | None = None, **more: Any) -> Any:
        """An answer, to whom shows `token`."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return (client or self.client).open(path, method=method, base_url=SERVER, headers=headers, **more)

    def token(self, role: Role) -> str:
        return self.tokens.create(name=f"a {role}", role=role).secret

    def browser(self, role: Role = Role.MEMBER) -> FlaskClient:
        """A browser that has logged in."""
        client = self.app.test_client()
        answer = self.log_in(self.token(role), client)
        assert (answer.status_code, answer.location) == (303, "/"), answer.text
        return client

    def log_in(self, secret: str, client: FlaskClient, **form: str) -> TestResponse:
        return self.ask("POST", "/login", client=client, data={"token": secret, **form}, headers={"Origin": SERVER})

    def socket(self, secret: str) -> Any:
        """A live connection of whom shows a token."""
        return self.sockets.test_client(self.app, headers={"Authorization": f"Bearer {secret}"})

    def log_out(self, client: FlaskClient, *, csrf: str) -> TestResponse:
        return self.ask("POST", "/api/v1/session/logout", client=client, headers={"X-CSRF-Token": csrf})

    def csrf(self, client: FlaskClient) -> str:
        """What the page of a browser knows."""
        found = re.search(r'<meta name="csrf" content="(\w+)" data-session=', self.ask("GET", "/", client=client).text)
        assert found is not None
        return found[1]


def application(core: TwinCore, folder: Path) -> Network:
    """`core` with a page in `folder`."""
    (folder / "dist").mkdir(exist_ok=True)
    page = '<!doctype html><html><head><link rel="stylesheet" href="/assets/a.css"></head></html>'
    (folder / "dist" / "index.html").write_text(page)
    app, sockets = create_app(cast(Any, core), dist=folder / "dist")
    return Network(core, app, sockets)
