"""The artifact store for workers that share no disk with the api. They show their token."""

from __future__ import annotations

from typing import Annotated

from flask import Response, request, send_file
from pydantic import Field

from api.answers import answer
from api.routes.blueprint import Resource
from api.routes.parameters import API
from api.services import services
from api.store.access import readable, removable, writable
from api.store.uploads import MAX_PART_BYTES
from api.store.views import StoreNamesView, StoreSpaceView, StoreUploadView
from shared.config import Frozen
from shared.errors import ConfigError

store = Resource("store", f"{API}/store")


class KeyPath(Frozen):
    """Addresses of an artifact."""

    key: str
    """Key in the artifact store, or a folder of keys."""


class UploadPath(KeyPath):
    """Addresses of an upload."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the whole artifact."""


class UploadSize(Frozen):
    """What an upload will be."""

    size: Annotated[int, Field(ge=0, le=1 << 50)]
    """Bytes of the whole artifact."""


class UploadPart(UploadSize):
    """Where a part belongs."""

    offset: Annotated[int, Field(ge=0, le=1 << 50)]
    """Bytes of the artifact that come before it."""


@store.sends("/files/<path:key>", "application/octet-stream")
def get_artifact(path: KeyPath) -> Response:
    """The bytes under a key, whole or in ranges; the ETag is their SHA-256."""
    storage = services().core.storage
    key = readable(path.key)
    found = storage.stat(key)
    if request.method == "HEAD":
        # Without bringing the bytes here, where the store is elsewhere.
        response = Response(mimetype="application/octet-stream")
        response.automatically_set_content_length = False
        response.headers["Content-Length"] = str(found.size_bytes)
        response.set_etag(found.sha256)
        return response
    return send_file(
        storage.file(key), mimetype="application/octet-stream", conditional=True, etag=found.sha256, max_age=0
    )


@store.removes("/files/<path:key>", StoreNamesView)
def delete_artifacts(path: KeyPath) -> Response:
    """Remove a checkpoint or a preview, or a file of one, and unfinished uploads to it."""
    parts = services()
    prefix = removable(path.key)
    parts.artifact_uploads.forget(prefix)
    parts.core.storage.delete(prefix)
    return answer(StoreNamesView(names=[]))


@store.reads("/names/<path:key>", StoreNamesView)
def list_names(path: KeyPath) -> Response:
    """Names directly under a folder."""
    return answer(StoreNamesView(names=services().core.storage.names(readable(path.key))))


@store.reads("/space", StoreSpaceView)
def get_space() -> Response:
    """Space left."""
    return answer(StoreSpaceView(free_bytes=services().core.storage.free_bytes()))


@store.reads("/uploads/<string:sha256>/<path:key>", StoreUploadView)
def get_upload(path: UploadPath, query: UploadSize) -> Response:
    """How far an upload is; refuses one that could not be finished."""
    return answer(services().artifact_uploads.state(writable(path.key, path.sha256), path.sha256, query.size))


@store.brings("/uploads/<string:sha256>/<path:key>", StoreUploadView)
def put_part(path: UploadPath, query: UploadPart) -> Response:
    """Bring a part, at most 64 MiB. The answer tells where to go on; that to the last one comes when it is durable."""
    if request.content_length is None:
        raise ConfigError("Say how long the part is, with Content-Length.")
    request.max_content_length = MAX_PART_BYTES
    state = services().artifact_uploads.receive(
        writable(path.key, path.sha256), path.sha256, query.size, query.offset, request.stream
    )
    return answer(state)
