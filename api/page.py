"""Serving the built page: its assets, and index.html for every other address, since the page routes by itself."""

from __future__ import annotations

import gzip
import json
import mimetypes
import re
from collections.abc import Callable
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from api.access.roles import Identity
from api.access.views import SessionView
from api.answers import error_answer

DIST: Final = Path(__file__).parent / "web" / "dist"
IMMUTABLE: Final = "private, max-age=31536000, immutable"
"""For what never changes under its address."""

NOT_PAGES: Final = ("/api/", "/socket.io/", "/openapi.json", "/healthz", "/readyz", "/metrics")
_TEXT: Final = frozenset({".js", ".css", ".html", ".svg", ".json", ".map", ".txt"})
_UNHASHED: Final = frozenset({"icon.svg", "theme.js"})
"""Assets that keep their name from build to build."""

_JOB_PAGE: Final = "src/pages/job/JobPage.tsx"
_JOB_ADDRESS: Final = re.compile(r"/jobs/[1-9][0-9]{0,8}")

_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Spectrain</title>
<h1>The page is not built</h1>
<p>The api runs, but this installation has no page: it was installed with HATCH_BUILD_NO_HOOKS, or from a checkout.</p>
<p>Build it with <code>npm ci &amp;&amp; npm run build</code> in <code>api/web</code>, or use the command line
<code>spectrain</code>. The HTTP API is described at <a href="/openapi.json">/openapi.json</a>.</p>
</html>
"""


def register_page(app: Flask, dist: Path, session_view: Callable[[Identity], SessionView]) -> None:
    """Answer what no route knows with the page in the folder `dist`, where it may be one of the page's addresses."""

    def on_not_found(_: NotFound) -> Response:
        if request.method not in ("GET", "HEAD") or request.path.startswith(NOT_PAGES):
            return error_answer(404, "There is nothing at this address.")
        if request.path.startswith("/assets/"):
            return _asset(dist)
        return _index(dist, session_view)

    app.register_error_handler(NotFound, on_not_found)


def styles(dist: Path) -> str:
    """What links the built page's styles into another one; nothing where it is not built."""
    try:
        index = (dist / "index.html").read_text()
    except OSError:
        return ""
    return "".join(re.findall(r'<link rel="stylesheet"[^<>]*>', index))


def unchanging_bytes(content: bytes, *, mimetype: str) -> Response:
    """Bytes that never change under their address, as an answer that a browser keeps."""
    response = Response(content, mimetype=mimetype)
    response.headers["Cache-Control"] = IMMUTABLE
    response.add_etag()
    response.make_conditional(request)
    return response


@lru_cache(maxsize=4)
def _ahead(manifest: Path, _mtime_ns: int) -> str:
    """What the page of a job needs beside what every page does, as a Link header.

    From the manifest that the build leaves: source file -> {"file", "imports", "css"}.
    """
    chunks: dict[str, Any] = json.loads(manifest.read_text())
    seen = {name for name, chunk in chunks.items() if chunk.get("isEntry")}
    seen |= {name for entry in seen for name in chunks[entry].get("imports", ())}
    wanted, links = [_JOB_PAGE], list[str]()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in chunks:
            continue
        seen.add(name)
        chunk = chunks[name]
        wanted += chunk.get("imports", ())
        links.append(f"</{chunk['file']}>; rel=modulepreload")
        links += [f"</{style}>; rel=preload; as=style; crossorigin" for style in chunk.get("css", ())]
    return ", ".join(links)


def _index(dist: Path, session_view: Callable[[Identity], SessionView]) -> Response:
    index = dist / "index.html"
    if not index.is_file():
        return Response(_NOT_BUILT, status=503, mimetype="text/html")
    identity: Identity | None = g.get("identity")
    if identity is not None and identity.csrf:
        # What the page shows with everything that it changes, for whom it is, and what they may.
        session = escape(session_view(identity).model_dump_json())
        login = f'<meta name="csrf" content="{identity.csrf}" data-session="{session}">'
        text = index.read_text().replace("<head>", f"<head>{login}", 1)
        response = Response(text, mimetype="text/html", headers={"Cache-Control": "no-store"})
        _send_ahead(response, dist)
        return response
    response = _file(index)
    response.headers["Cache-Control"] = "no-cache"
    _send_ahead(response, dist)
    response.make_conditional(request)
    return response


def _send_ahead(response: Response, dist: Path) -> None:
    """Have a browser ask for a job, its history and its page at once, not when the code that wants them has come."""
    manifest = dist / "manifest.json"
    if _JOB_ADDRESS.fullmatch(request.path) and manifest.is_file():
        links = [_ahead(manifest, manifest.stat().st_mtime_ns)]
        links += [f"</api/v1{request.path}{part}>; rel=preload; as=fetch; crossorigin" for part in ("", "/history")]
        response.headers["Link"] = ", ".join(links)


def _asset(dist: Path) -> Response:
    path = safe_join(str(dist / "assets"), request.path.removeprefix("/assets/"))
    if path is None or not Path(path).is_file():
        return error_answer(404, "There is nothing at this address.")
    response = _file(Path(path))
    response.headers["Cache-Control"] = "no-cache" if Path(path).name in _UNHASHED else IMMUTABLE
    response.make_conditional(request)
    return response


def _file(path: Path) -> Response:
    stat = path.stat()
    plain, packed = _content(path, stat.st_mtime_ns, stat.st_size)
    zipped = packed is not None and bool(request.accept_encodings["gzip"])
    response = Response(
        packed if zipped else plain, mimetype=mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    )
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.set_etag(f"{stat.st_mtime_ns:x}-{stat.st_size:x}{'-gzip' if zipped else ''}")
    return response


@lru_cache(maxsize=64)
def _content(path: Path, modified_ns: int, size: int) -> tuple[bytes, bytes | None]:  # noqa: ARG001 - the cache's key
    """The file's bytes, and the same packed where that makes them smaller."""
    plain = path.read_bytes()
    packed = gzip.compress(plain, 9, mtime=0) if path.suffix in _TEXT else None
    return plain, packed if packed is not None and len(packed) < len(plain) else None
