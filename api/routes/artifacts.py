"""What trainings made: checkpoints and previews, out of the artifact store."""

from __future__ import annotations

from pathlib import Path

from flask import Response, send_file

from api.answers import answer
from api.checkpoint_files import weights_key
from api.page import IMMUTABLE
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, JobPath
from api.services import services
from api.views import CheckpointListView, PreviewListView
from shared.errors import NotFoundError, StorageError
from shared.storage.base import check_key

artifacts = Resource("artifacts", f"{API}/jobs/<{ID}:job_id>")


class CheckpointPath(JobPath):
    """Addresses of a checkpoint."""

    name: str
    """Name of the checkpoint: `<attempt>-<step>`."""


class PreviewFilePath(JobPath):
    """Addresses of a sound of a preview."""

    name: str
    """Name of the preview: `<attempt>-<step>`."""
    file: str
    """Name of the sound without `.wav`."""


@artifacts.reads("/checkpoints", CheckpointListView)
def list_checkpoints(path: JobPath) -> Response:
    """The checkpoints that exist, newest first."""
    return answer(services().core.jobs.checkpoints(path.job_id))


@artifacts.sends("/checkpoints/<string:name>/weights", "application/octet-stream")
def get_weights(path: CheckpointPath) -> Response:
    """The weights of a checkpoint as a safetensors file."""
    storage = services().core.storage
    key = _key(weights_key(path.job_id, path.name))
    if not storage.exists(key):
        raise NotFoundError(f"Job {path.job_id} has no checkpoint {path.name!r} (any more).")
    return _unchanging(
        storage.file(key),
        mimetype="application/octet-stream",
        download=f"spectrain-job{path.job_id}-{path.name}.safetensors",
    )


@artifacts.reads("/previews", PreviewListView)
def list_previews(path: JobPath) -> Response:
    """Every preview, newest first."""
    return answer(services().core.jobs.previews(path.job_id))


@artifacts.sends("/previews/<string:name>/<string:file>.wav", "audio/wav")
def get_preview(path: PreviewFilePath) -> Response:
    """A sound of a preview; ranges are supported."""
    key = _key(f"jobs/{path.job_id}/previews/{path.name}/{path.file}.wav")
    return _unchanging(services().core.storage.file(key), mimetype="audio/wav")


def _unchanging(file: Path, *, mimetype: str, download: str | None = None) -> Response:
    """A file that never changes under its address, whole or in ranges."""
    response = send_file(
        file, mimetype=mimetype, as_attachment=download is not None, download_name=download, conditional=True
    )
    response.headers["Cache-Control"] = IMMUTABLE
    return response


def _key(key: str) -> str:
    try:
        return check_key(key)
    except StorageError as error:
        raise NotFoundError("There is nothing at this address.") from error
