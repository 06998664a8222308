"""The web application: routes, sockets, the page, and what holds for every answer."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from flask_openapi.models.info import Info
from flask_openapi.openapi import OpenAPI
from flask_socketio import SocketIO

from api.access.door import Door
from api.access.tokens import Tokens
from api.answers import StrictJson, invalid_request, register_error_answers
from api.compression import compress_answer
from api.datasets.pictures import SoundPictures
from api.datasets.probe import AudioProbe
from api.datasets.quotas import Measured, Quotas
from api.datasets.uploads import Uploads
from api.guard import Guard, add_security_headers
from api.keeping.arrivals import Arrivals
from api.keeping.deletion import Deletion
from api.keeping.disk_use import DiskUse
from api.keeping.garbage import Garbage
from api.keeping.imports import Imports
from api.keeping.pins import Pins
from api.metrics.standing import Standing
from api.notify.targets import Targets
from api.page import DIST, register_page
from api.queue.batches import Batches
from api.queue.edits import JobEdits
from api.queue.start_points import StartPoints
from api.queue.submission import Submission
from api.record.datasets import DatasetRecord
from api.request_log import RequestIds, follow_requests
from api.rooms import RoomEmitter
from api.routes import BLUEPRINTS
from api.routes.access import ask_before_every_request, session_view
from api.services import EXTENSION, Services
from api.sockets import Connected, SocketDoor, cut_off, make_sockets, open_sockets, use_outlets
from api.store.uploads import ArtifactUploads
from api.views import ErrorView

if TYPE_CHECKING:
    from api.core import Core

MAX_JSON_BYTES: Final = 1 << 20
"""Largest body of a request that is not an upload."""


def create_app(core: Core, *, dist: Path = DIST) -> tuple[OpenAPI, SocketIO]:
    """The application over `core`, with the built page in `dist`."""
    datasets = DatasetRecord(core.database)
    arrivals = Arrivals()
    disk_use = DiskUse(core.storage)
    quotas = Quotas(
        each=core.settings.dataset_quota_bytes,
        whole=core.settings.quota_bytes,
        taken=datasets.size_bytes,
        measure=lambda: _measured(disk_use),
    )
    uploads = Uploads(
        datasets=datasets,
        storage=core.storage,
        probe=AudioProbe(),
        folder=core.settings.data / "uploads",
        arrivals=arrivals,
        quotas=quotas,
    )
    tokens = Tokens(core.database)
    door = Door(tokens, core.settings)
    submission = Submission(
        datasets=datasets,
        starts=StartPoints(jobs=core.jobs, storage=core.storage, arrivals=arrivals),
        jobs=core.jobs,
        workers=core.workers.list,
        arrivals=arrivals,
    )
    deletion = Deletion(database=core.database, storage=core.storage, arrivals=arrivals)
    app = _bare_app()
    app.extensions[EXTENSION] = Services(
        core=core,
        datasets=datasets,
        uploads=uploads,
        pictures=SoundPictures(),
        submission=submission,
        batches=Batches(record=core.jobs, submission=submission),
        edits=JobEdits(database=core.database, record=core.jobs, actions=core.actions, submission=submission),
        pins=Pins(database=core.database, storage=core.storage, arrivals=arrivals),
        deletion=deletion,
        disk_use=disk_use,
        garbage=Garbage(
            database=core.database,
            storage=core.storage,
            arrivals=arrivals,
            folder=core.settings.data / "uploads",
        ),
        targets=Targets(core.database, private=core.settings.notify_private),
        imports=Imports(
            database=core.database, storage=core.storage, folder=core.settings.data / "uploads", quotas=quotas
        ),
        tokens=tokens,
        door=door,
        dist=dist,
        artifact_uploads=ArtifactUploads(core.storage, core.settings.data / "uploads" / "artifacts"),
    )
    register_page(app, dist, session_view)
    connected = Connected(door)
    sockets = make_sockets(core.jobs, core.newest_events, connected)
    sockets.init_app(app)
    use_outlets(sockets)
    core.relay.emit = emitter = RoomEmitter(sockets)
    core.relay.hears, core.relay.watched = emitter.hears, emitter.watched
    core.access.look = lambda: cut_off(sockets, connected)
    core.deletions.finish = lambda: _finish(deletion, core, disk_use)
    follow_requests(app, core.observed.answered)
    ask_before_every_request(app, door, core.settings)
    core.observed.registry.register(
        Standing(
            database=core.database,
            workers=core.workers.online,
            parts=core.readiness.parts,
            sockets=lambda: open_sockets(sockets),
            data=core.settings.data,
        )
    )
    guarded = Guard(
        SocketDoor(app.wsgi_app, door),
        host=core.settings.host,
        allowed_hosts=[name.strip() for name in core.settings.allowed_hosts.split(",") if name.strip()],
    )
    app.wsgi_app = RequestIds(guarded)
    return app, sockets


def _finish(deletion: Deletion, core: Core, disk_use: DiskUse) -> None:
    for job_id in deletion.finish():
        disk_use.forget()
        core.gone("job", job_id)


def _measured(disk_use: DiskUse) -> Measured:
    total = disk_use.total()
    return Measured(size_bytes=total.size_bytes, at=total.measured_at)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of the HTTP API, which needs no running api."""
    return cast(dict[str, Any], _bare_app().api_doc)


def _bare_app() -> OpenAPI:
    app = OpenAPI(
        __name__,
        info=Info(title="Spectrain", version=_version()),
        validation_error_status=422,
        validation_error_model=ErrorView,
        validation_error_callback=invalid_request,
        security_schemes={"token": {"type": "http", "scheme": "bearer", "description": "Where people log in."}},
        doc_ui=False,
        static_folder=None,
    )
    # The schemas are those of 3.1, which more tools know than the newest version.
    app.openapi_version = "3.1.0"
    app.json = StrictJson(app)
    app.config.update(MAX_CONTENT_LENGTH=MAX_JSON_BYTES, PROPAGATE_EXCEPTIONS=False)
    register_error_answers(app)
    app.after_request(compress_answer)
    app.after_request(add_security_headers)
    for blueprint in BLUEPRINTS:
        app.register_api(blueprint)
    return app


def _version() -> str:
    try:
        return version("spectrain")
    except PackageNotFoundError:
        return "0"
