"""How another machine joins: the script that it runs first, what it installs, what its workers need."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from flask import Response, request

from api.answers import answer
from api.routes.access import asking
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.views import JoinRequest, JoinView, ReleaseView
from api.workers.release import this_release
from shared.config import Frozen
from shared.errors import NotFoundError

join = Resource("join", f"{API}/join")
bootstrap = Resource("bootstrap", "/join", asks=False)

_SCRIPT: Final = Path(__file__).parent.parent / "workers" / "bootstrap.py"


class WheelPath(Frozen):
    """Addresses of a wheel."""

    file: str
    """Its name."""


@bootstrap.sends("", "text/x-python")
def get_script() -> Response:
    """The script that makes a machine with nothing but Python a worker; it holds no secret."""
    return Response(_SCRIPT.read_bytes(), mimetype="text/x-python")


@join.reads("/wheel", ReleaseView)
def get_release() -> Response:
    """What a machine has to install."""
    release = this_release()
    return answer(
        ReleaseView(
            version=release.version,
            file=release.file_name,
            sha256=release.sha256,
            torch_index=services().core.settings.torch_index,
        )
    )


@join.sends("/wheel/<file>", "application/octet-stream")
def get_wheel(path: WheelPath) -> Response:
    """The wheel."""
    release = this_release()
    if path.file != release.file_name:
        raise NotFoundError(f"There is no {path.file} here: this server's wheel is {release.file_name}.")
    return Response(release.wheel, mimetype="application/octet-stream")


@join.sends("/constraints", "text/plain")
def get_constraints() -> Response:
    """The exact versions that are installed beside it, for pip."""
    return Response(this_release().constraints, mimetype="text/plain")


@join.does("", JoinView)
def join_machine(body: JoinRequest) -> Response:
    """Let a machine's workers serve. Asking again with the same password changes nothing."""
    reached_as = urlsplit(f"//{request.host}").hostname or ""
    return answer(services().core.joined.join(body, asking(), reached_as=reached_as))
