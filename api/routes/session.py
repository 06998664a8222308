"""Logging in with a token and out again, and who somebody is. The login page works without any script."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import urlsplit

from flask import Response, request

from api.access.tokens import SESSION_S
from api.access.views import SessionView
from api.answers import answer
from api.page import styles
from api.routes.access import asking, session_view
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from shared.errors import AccessError, TooManyError

session = Resource("session", f"{API}/session")
login = Resource("login", "")

_PAGE: Final = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Log in - Spectrain</title>
    <link rel="icon" type="image/svg+xml" href="/assets/icon.svg">
    <script src="/assets/theme.js"></script>
    {styles}
  </head>
  <body>
    <main>
      <form class="card stack login" method="post" action="/login">
        <h1>Spectrain</h1>
        <div class="field">
          <label for="token">Token</label>
          <input class="input" id="token" name="token" type="password" autocomplete="current-password" required
            autofocus maxlength="200" spellcheck="false" aria-describedby="help{error_id}"{invalid}>
          {error}
          <p class="field-help" id="help">Whoever runs this server gives you one. The first one was shown when the
            server was first started.</p>
        </div>
        <input type="hidden" name="next" value="{next}">
        <button class="button button-primary" type="submit">Log in</button>
      </form>
    </main>
  </body>
</html>
"""
_MAX_FORM_BYTES: Final = 16_384


@session.reads("", SessionView)
def get_session() -> Response:
    """Who asks, what that role is, and what it may not."""
    return answer(session_view(asking()))


@login.route("/login", methods=["GET"])
def get_login() -> Response:
    """The login page; whoever need not log in is led on."""
    wanted = _inside(request.args.get("next", ""))
    if services().door.is_open(request.environ):
        return _lead_to(wanted)
    return _page(wanted)


@login.route("/login", methods=["POST"])
def log_in() -> Response:
    """Begin a session, and lead to the page that was asked for."""
    request.max_content_length = _MAX_FORM_BYTES
    wanted = _inside(request.form.get("next", ""))
    door = services().door
    try:
        secret = door.log_in(request.environ, request.form.get("token", "").strip())
    except TooManyError as error:
        refused = _page(wanted, str(error), error.http_status)
        refused.headers["Retry-After"] = str(error.retry_after_s)
        return refused
    except AccessError as error:
        return _page(wanted, str(error), error.http_status)
    response = _lead_to(wanted)
    # A browser says on a form what address it shows, also where a proxy took the TLS off.
    secure = urlsplit(request.headers.get("Origin", request.host_url)).scheme == "https"
    # Lax: links to the page in mails and chats go on working; changes ask for the CSRF token besides.
    response.set_cookie(
        door.cookie(secure=secure), secret, max_age=int(SESSION_S), secure=secure, httponly=True, samesite="Lax"
    )
    return response


@session.does("/logout", SessionView)
def log_out() -> Response:
    """End the session of this browser; a token is made worthless by revoking it."""
    identity, parts = asking(), services()
    response = answer(session_view(identity))
    if not identity.session_sha256:
        return response
    parts.door.log_out(request.environ)
    parts.core.access.wake()
    for secure in (True, False):
        response.delete_cookie(parts.door.cookie(secure=secure), secure=secure, httponly=True, samesite="Lax")
    # Sounds are kept in a browser for good; the next person at it may be another one.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _page(wanted: str, error: str = "", status: int = 200) -> Response:
    text = _PAGE.format(
        styles=styles(services().dist),
        next=escape(wanted),
        error=f'<p class="field-error" id="error" role="alert">{escape(error)}</p>' if error else "",
        error_id=" error" if error else "",
        invalid=' aria-invalid="true"' if error else "",
    )
    response = Response(text, status=status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    # With less than that a browser would not say where the form comes from.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _lead_to(path: str) -> Response:
    return Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def _inside(path: str) -> str:
    """`path` where it is one of this server's pages, else the first one: nobody is led elsewhere."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and path.isascii()
    return path if plain and "\\" not in path else "/"
