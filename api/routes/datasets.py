"""Datasets: creating, listing, uploading into, listening to, deleting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from flask import Response, request, send_file
from pydantic import Field

from api.answers import answer
from api.datasets.receive import FIELD
from api.datasets.uploads import clip_key
from api.datasets.views import ClipsRequest, DatasetDetailView, DatasetListView, DatasetRequest, DatasetView, UploadView
from api.keeping.views import DeletedView
from api.page import IMMUTABLE, unchanging_bytes
from api.routes.blueprint import FILE, Resource
from api.routes.parameters import API, DatasetPath
from api.services import services
from shared.errors import ConfigError, NotFoundError, StorageFullError
from shared.jobs import Clip

datasets = Resource("datasets", f"{API}/datasets")

_MEDIA_TYPES: Final = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "AIFF": "audio/aiff",
    "MP3": "audio/mpeg",
}
_SPARE_BYTES: Final = 64 << 20
"""Space that an upload must leave on the disk for the record."""
_FORM: Final = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": [FIELD],
            "properties": {FIELD: {"type": "array", "items": FILE}},
        }
    }
}


class ClipPath(DatasetPath):
    """Addresses of a clip."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the clip's bytes."""


@datasets.reads("", DatasetListView)
def list_datasets() -> Response:
    """List datasets, newest first."""
    return answer(DatasetListView(datasets=services().datasets.all()))


@datasets.does("", DatasetView, status=201)
def create_dataset(body: DatasetRequest) -> Response:
    """Make an empty dataset."""
    parts = services()
    view = parts.datasets.create(body.name)
    parts.core.dataset_changed(view.id)
    return answer(view, 201)


@datasets.reads("/<string:dataset>", DatasetDetailView)
def get_dataset(path: DatasetPath) -> Response:
    """One dataset with its files."""
    return answer(services().datasets.detail(path.dataset))


@datasets.removes("/<string:dataset>", DeletedView)
def delete_dataset(path: DatasetPath) -> Response:
    """Delete a dataset that no job uses, with the clips that no other dataset has."""
    parts = services()
    dataset_id, deleted = parts.deletion.delete_dataset(path.dataset)
    parts.disk_use.forget()
    parts.core.gone("dataset", dataset_id)
    return answer(deleted)


@datasets.does("/<string:dataset>/files", UploadView, takes={"required": True, "content": _FORM})
def upload_files(path: DatasetPath) -> Response:
    """Add files; a bad one is refused by name and the others go on. A file's name may hold a relative path."""
    parts = services()
    dataset = parts.datasets.view(path.dataset)
    request.max_content_length = parts.core.settings.max_upload_bytes
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise ConfigError(f"Send the files as multipart/form-data, in the field {FIELD!r}.", field=FIELD)
    free = parts.core.storage.free_bytes()
    if free is not None and (request.content_length or 0) + _SPARE_BYTES > free:
        raise StorageFullError("The disk has too little space for these files: free some and send them again.")
    try:
        results = parts.uploads.receive(dataset.id, request.stream, boundary)
    finally:
        parts.core.dataset_changed(dataset.id)
    return answer(UploadView(dataset=parts.datasets.view(dataset.id), files=results))


@datasets.does("/<string:dataset>/clips/remove", DatasetView)
def remove_clips(path: DatasetPath, body: ClipsRequest) -> Response:
    """Take clips out, which makes a new version; jobs keep theirs."""
    parts = services()
    view = parts.datasets.remove_clips(path.dataset, set(body.clips))
    parts.core.dataset_changed(view.id)
    return answer(view)


@datasets.sends("/<string:dataset>/clips/<string:sha256>/audio", "audio/*")
def get_clip(path: ClipPath) -> Response:
    """The file as it was uploaded; ranges are supported."""
    clip, file = _clip_file(path)
    container = clip.format.partition(" ")[0]
    response = send_file(
        file,
        mimetype=_MEDIA_TYPES.get(container, "application/octet-stream"),
        download_name=clip.name.rpartition("/")[2],
        conditional=True,
    )
    response.headers["Cache-Control"] = IMMUTABLE
    return response


@datasets.sends("/<string:dataset>/clips/<string:sha256>/spectrogram.png", "image/png")
def get_clip_spectrogram(path: ClipPath) -> Response:
    """The spectrogram of a clip."""
    clip, file = _clip_file(path)
    return unchanging_bytes(services().pictures.spectrogram(clip_key(clip.sha256), file), mimetype="image/png")


@datasets.sends("/<string:dataset>/clips/<string:sha256>/waveform.svg", "image/svg+xml")
def get_clip_waveform(path: ClipPath) -> Response:
    """The waveform of a clip, in black, to be coloured by who shows it."""
    clip, file = _clip_file(path)
    return unchanging_bytes(services().pictures.waveform(clip_key(clip.sha256), file), mimetype="image/svg+xml")


def _clip_file(path: ClipPath) -> tuple[Clip, Path]:
    parts = services()
    clip = parts.datasets.clip(path.dataset, path.sha256)
    try:
        return clip, parts.core.storage.file(clip_key(clip.sha256))
    except NotFoundError as error:
        raise NotFoundError(f"The artifact store has lost {clip.name}: upload it again.") from error
