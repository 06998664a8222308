"""Who may call which route and send which socket event: the one table, and what is asked before every request.

The application does not start with a route or an event that is missing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars
from werkzeug.urls import iri_to_uri

from api.access.door import Door, check_csrf
from api.access.limits import Limit
from api.access.roles import Identity, Role
from api.access.views import SessionView
from api.page import NOT_PAGES
from shared.errors import AccessError
from shared.settings import Settings

_OPEN: Final = (
    # Says no more to a stranger than that the server is there, or what every copy of Spectrain has in it.
    *("health.get_health", "health.get_readiness", "bootstrap.get_script", "login.get_login", "login.log_in"),
)
_VIEWERS: Final = (
    *("jobs.list_jobs", "jobs.get_job", "jobs.get_resume", "jobs.list_events"),
    *("history.get_history", "history.get_steps", "history.get_epochs"),
    *("artifacts.list_checkpoints", "artifacts.get_weights", "artifacts.get_config"),
    *("artifacts.list_previews", "artifacts.get_preview", "artifacts.get_preview_picture"),
    *("models.get_models", "presets.list_presets", "queue.get_queue", "workers.list_workers"),
    *("datasets.list_datasets", "datasets.get_dataset", "datasets.get_clip"),
    *("datasets.get_clip_spectrogram", "datasets.get_clip_waveform"),
    *("deletion.get_job_disk", "deletion.get_job_deletion", "deletion.get_dataset_deletion", "disk.get_disk"),
    *("session.get_session", "session.log_out", "health.get_openapi", "metrics.get_metrics"),
)
_MEMBERS: Final = (
    *(
        "jobs.check_job",
        "jobs.check_sweep",
        "jobs.submit_job",
        "jobs.submit_batch",
        "jobs.submit_sweep",
        "jobs.duplicate_job",
    ),
    *("jobs.act_on_jobs", "jobs.cancel_job", "jobs.pause_job", "jobs.resume_job", "jobs.retry_job", "jobs.hold_job"),
    *("jobs.release_job", "jobs.run_job_next", "jobs.move_job", "jobs.edit_job", "jobs.save_job", "jobs.preview_job"),
    *("datasets.create_dataset", "datasets.upload_files", "datasets.remove_clips", "models.import_model"),
    *("artifacts.pin_checkpoint", "artifacts.unpin_checkpoint"),
    *("queue.pause_queue", "queue.resume_queue"),
)
_ADMINS: Final = (
    *("notifications.list_targets", "notifications.create_target"),
    *("notifications.try_target", "notifications.remove_target"),
    *("tokens.list_tokens", "tokens.create_token", "tokens.revoke_token"),
    *("workers.drain_worker", "workers.resume_worker", "workers.label_worker", "workers.remove_worker"),
    *("jobs.delete_job", "datasets.delete_dataset", "disk.get_garbage", "disk.collect_garbage"),
)
_WORKERS: Final = (
    *("join.get_release", "join.get_wheel", "join.get_constraints", "join.join_machine"),
    *("store.get_artifact", "store.delete_artifacts", "store.list_names", "store.get_space"),
    *("store.get_upload", "store.put_part"),
)

ROUTES: Final[Mapping[str, Role | None]] = {
    **dict.fromkeys(_OPEN),
    **dict.fromkeys(_VIEWERS, Role.VIEWER),
    **dict.fromkeys(_MEMBERS, Role.MEMBER),
    **dict.fromkeys(_ADMINS, Role.ADMIN),
    **dict.fromkeys(_WORKERS, Role.WORKER),
}
"""By endpoint: whose role it takes at least; None for everybody."""

EVENTS: Final[Mapping[str, Role]] = dict.fromkeys(("connect", "watch", "unwatch", "watch_queue"), Role.VIEWER)
"""By event that a client sends."""

_SUBMITS: Final = frozenset({"jobs.submit_job", "jobs.submit_batch", "jobs.submit_sweep", "jobs.duplicate_job"})
_UPLOADS: Final = frozenset({"datasets.upload_files", "models.import_model"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CSRF_HEADER: Final = "X-CSRF-Token"


def ask_before_every_request(app: Flask, door: Door, settings: Settings) -> None:
    """Have nothing answered but to those who may. Raises RuntimeError where the table does not fit the routes."""
    check_table(ROUTES, (rule.endpoint for rule in app.url_map.iter_rules()), "route")
    submits = Limit("Too many jobs are submitted", settings.submits_per_minute)
    uploads = Limit("Too many uploads are sent", settings.uploads_per_minute)

    def ask() -> Response | None:
        wanted = _wanted()
        if wanted is None:
            return None
        try:
            identity = door.who(request.environ, wanted)
        except AccessError as error:
            if error.http_status == 401 and _is_page():
                return _to_login()
            raise
        if request.method not in _SAFE_METHODS:
            check_csrf(identity, request.headers.get(_CSRF_HEADER, ""))
        if identity.token_id is not None:
            if request.endpoint in _SUBMITS:
                submits.take(str(identity.token_id))
            elif request.endpoint in _UPLOADS:
                uploads.take(str(identity.token_id))
        g.identity = identity
        if identity.token_id is not None:
            bind_contextvars(token=identity.token_id)
        return None

    app.before_request(ask)


def check_table(table: Mapping[str, object], there: Iterable[str], what: str) -> None:
    """Raise RuntimeError where something is missing in `table`, or something is in it that is not there."""
    wrong = set(table) ^ set(there)
    if wrong:
        raise RuntimeError(f"api/routes/access.py must say of each {what} who may, and of no other: {sorted(wrong)}.")


def asking() -> Identity:
    """Who sends the current request; for routes that are not open to everybody."""
    identity: Identity = g.identity
    return identity


def submitter() -> str:
    """By what name others know who sends the current request; empty where nobody has to log in."""
    identity = asking()
    return "" if identity.token_id is None else identity.name


def session_view(identity: Identity) -> SessionView:
    """Who somebody is, and what of that which people do is not for them."""
    refused = {
        endpoint: role.value
        for endpoint, role in ROUTES.items()
        if role is not None and role is not Role.WORKER and not identity.may(role)
    }
    return SessionView(role=identity.role, name=identity.name, refused=refused)


def _wanted() -> Role | None:
    if request.endpoint is not None:
        return ROUTES[request.endpoint]
    # The page's code is the same everywhere, and the login page needs its looks.
    return None if request.path.startswith("/assets/") else Role.VIEWER


def _is_page() -> bool:
    """Whether a browser asks for the page itself."""
    return request.endpoint is None and request.method in ("GET", "HEAD") and not request.path.startswith(NOT_PAGES)


def _to_login() -> Response:
    wanted = iri_to_uri(request.full_path.rstrip("?"))
    place = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"
    return Response(status=303, headers={"Location": place, "Cache-Control": "no-store"})
