"""What trainings made: checkpoints and previews, out of the artifact store."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from pathlib import Path

from flask import Response, send_file
from pydantic import ValidationError

from api.answers import answer
from api.checkpoint_files import WEIGHTS_FILE, find_folder, manifest_in, read_manifest, trained_folder
from api.keeping.views import ModelConfigView
from api.page import IMMUTABLE, unchanging_bytes
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, JobPath
from api.services import services
from api.views import CheckpointListView, PreviewListView
from shared.errors import CorruptCheckpointError, DamagedError, NotFoundError, StorageError
from shared.storage.base import check_key

DIGEST_HEADER = "Repr-Digest"
"""What the trainer saved, for whoever wants to know whether that is what came (RFC 9530)."""
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
    _key(trained_folder(path.job_id, path.name))
    folder = find_folder(storage, path.job_id, path.name)
    key = f"{folder}/{WEIGHTS_FILE}"
    if not storage.exists(key):
        raise NotFoundError(f"Job {path.job_id} has no checkpoint {path.name!r} (any more).")
    response = _unchanging(
        storage.file(key),
        mimetype="application/octet-stream",
        download=f"spectrain-job{path.job_id}-{path.name}.safetensors",
    )
    # Without a manifest that can be read there is nothing to compare with.
    with suppress(NotFoundError, DamagedError, ValidationError, KeyError):
        saved = manifest_in(storage, folder).files[WEIGHTS_FILE]
        response.headers[DIGEST_HEADER] = f"sha-256=:{b64encode(bytes.fromhex(saved.sha256)).decode()}:"
    return response


@artifacts.reads("/checkpoints/<string:name>/config", ModelConfigView)
def get_config(path: CheckpointPath) -> Response:
    """The configuration of a checkpoint's model, as a file to keep beside its weights."""
    parts = services()
    job = parts.core.jobs.get(path.job_id)
    _key(trained_folder(path.job_id, path.name))
    try:
        manifest = read_manifest(parts.core.storage, path.job_id, path.name)
    except NotFoundError as error:
        raise NotFoundError(f"Job {path.job_id} has no checkpoint {path.name!r} (any more).") from error
    except ValidationError as error:
        raise CorruptCheckpointError(f"Checkpoint {path.name} has a damaged manifest.", name=path.name) from error
    response = answer(
        ModelConfigView(
            job=job.id,
            job_name=job.name,
            dataset=job.dataset,
            checkpoint=path.name,
            epoch=manifest.epoch,
            step=manifest.step,
            val_reconstruction=manifest.val_reconstruction,
            saved_at=manifest.saved_at,
            versions=manifest.versions,
            model=manifest.config.model(),
            features=manifest.config.features(),
            train=manifest.config,
        )
    )
    response.headers.set("Content-Disposition", "attachment", filename=f"spectrain-job{path.job_id}-{path.name}.json")
    return response


@artifacts.does("/checkpoints/<string:name>/pin", CheckpointListView)
def pin_checkpoint(path: CheckpointPath) -> Response:
    """Keep a checkpoint until it is unpinned, whatever its training goes on to do."""
    return answer(services().pins.pin(path.job_id, path.name))


@artifacts.does("/checkpoints/<string:name>/unpin", CheckpointListView)
def unpin_checkpoint(path: CheckpointPath) -> Response:
    """Keep a checkpoint no longer than its training does; where that removed its own already, it goes now."""
    return answer(services().pins.unpin(path.job_id, path.name))


@artifacts.reads("/previews", PreviewListView)
def list_previews(path: JobPath) -> Response:
    """Every preview, newest first."""
    return answer(services().core.jobs.previews(path.job_id))


@artifacts.sends("/previews/<string:name>/<string:file>.wav", "audio/wav")
def get_preview(path: PreviewFilePath) -> Response:
    """A sound of a preview; ranges are supported."""
    key = _key(f"jobs/{path.job_id}/previews/{path.name}/{path.file}.wav")
    return _unchanging(services().core.storage.file(key), mimetype="audio/wav")


@artifacts.sends("/previews/<string:name>/<string:file>.png", "image/png")
def get_preview_picture(path: PreviewFilePath) -> Response:
    """The spectrogram of a sound of a preview."""
    parts = services()
    key = _key(f"jobs/{path.job_id}/previews/{path.name}/{path.file}.wav")
    return unchanging_bytes(parts.pictures.spectrogram(key, parts.core.storage.file(key)), mimetype="image/png")


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
