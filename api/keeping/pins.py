"""Pinned checkpoints: the api keeps a copy of its own, which nothing that a trainer does reaches.

    pin    jobs/<id>/checkpoints/<name> -> jobs/<id>/pinned/<name>, verified -> the record says that it is pinned
    unpin  the record first -> the copy goes

So a trainer need not hear of it, wherever it runs and however old it is: it goes on removing its own checkpoints as
newer ones come. In a folder the copy is a second name of the same bytes and takes no space of its own until then.
"""

from __future__ import annotations

import threading

from pydantic import ValidationError

from api.backup.hold import check_not_held
from api.checkpoint_files import (
    MANIFEST_FILE,
    CheckpointManifest,
    pinned_folder,
    trained_folder,
)
from api.keeping.arrivals import Arrivals
from api.record.checkpoints import mark_models, read_checkpoints
from api.record.database import Database
from api.record.rows import find
from api.record.tables import Checkpoint
from api.views import CheckpointListView
from shared.errors import CorruptCheckpointError, NotFoundError, StorageError
from shared.storage import Storage


class Pins:
    """Pins and unpins; both answer with the job's checkpoints. Asking for what is so already changes nothing."""

    def __init__(self, *, database: Database, storage: Storage, arrivals: Arrivals) -> None:
        self._database = database
        self._storage = storage
        self._arrivals = arrivals
        self._turn = threading.Lock()

    def pin(self, job_id: int, name: str) -> CheckpointListView:
        """Keep a checkpoint; raises NotFoundError for one that is gone, CorruptCheckpointError for a damaged one."""
        with self._turn:
            values = self._values(job_id, name)
            if not values["pinned"]:
                # Until the record says that it is pinned, nothing else tells that the copy is needed.
                self._arrivals.begin(pinned_folder(job_id, name))
                try:
                    self._copy(job_id, name)
                    self._mark(job_id, name, values)
                finally:
                    self._arrivals.end(pinned_folder(job_id, name))
        return self._list(job_id)

    def unpin(self, job_id: int, name: str) -> CheckpointListView:
        """Keep a checkpoint no longer than its training does."""
        with self._turn:
            with self._database.session() as session:
                check_not_held(session)
                row = session.get(Checkpoint, (find(session, job_id).id, name))
                if row is None:
                    raise _gone(job_id, name)
                row.pinned = False
                if row.only_pinned:
                    session.delete(row)
                mark_models(session, job_id)
            self._storage.delete(pinned_folder(job_id, name))
        return self._list(job_id)

    def put_back(self, job_id: int, name: str) -> None:
        """Have a pinned checkpoint where a trainer looks for it, so that the job can go on from it."""
        with self._turn:
            if not self._values(job_id, name)["only_pinned"]:
                return
            source, target = pinned_folder(job_id, name), trained_folder(job_id, name)
            for file in self._files(source):
                self._storage.copy(f"{source}/{file}", f"{target}/{file}")
            with self._database.session() as session:
                row = session.get(Checkpoint, (job_id, name))
                if row is not None:
                    row.only_pinned = False

    def _values(self, job_id: int, name: str) -> dict[str, object]:
        """The row of a checkpoint as it is now, by column."""
        with self._database.reading() as session:
            row = session.get(Checkpoint, (find(session, job_id).id, name))
            if row is None:
                raise _gone(job_id, name)
            return {column.key: getattr(row, column.key) for column in Checkpoint.__table__.columns}

    def _copy(self, job_id: int, name: str) -> None:
        source, target = trained_folder(job_id, name), pinned_folder(job_id, name)
        try:
            manifest = self._manifest(source, name)
            for file in self._files(source):
                self._storage.copy(f"{source}/{file}", f"{target}/{file}")
            whole = all(
                self._storage.stat(f"{target}/{file}").sha256 == expected.sha256
                for file, expected in manifest.files.items()
            )
        except BaseException as error:
            self._storage.delete(target)
            if isinstance(error, StorageError | NotFoundError) and not self._storage.exists(
                f"{source}/{MANIFEST_FILE}"
            ):
                # A job at work replaces its checkpoints at any time.
                raise _gone(job_id, name) from error
            raise
        if not whole:
            self._storage.delete(target)
            raise _damaged(job_id, name)

    def _files(self, folder: str) -> list[str]:
        """Files of the checkpoint in `folder`, the manifest last: without it the others count for nothing."""
        return [*self._manifest(folder, folder.rpartition("/")[2]).files, MANIFEST_FILE]

    def _manifest(self, folder: str, name: str) -> CheckpointManifest:
        try:
            return CheckpointManifest.model_validate_json(self._storage.read(f"{folder}/{MANIFEST_FILE}"))
        except ValidationError as error:
            raise _damaged(int(folder.split("/")[1]), name) from error

    def _mark(self, job_id: int, name: str, values: dict[str, object]) -> None:
        try:
            with self._database.session() as session:
                find(session, job_id)
                row = session.get(Checkpoint, (job_id, name))
                if row is None:
                    # Its trainer removed it while it was copied: the copy is whole, so it is kept all the same.
                    row = Checkpoint(**{**values, "only_pinned": True})
                    session.add(row)
                row.pinned = True
                mark_models(session, job_id)
        except NotFoundError:
            self._storage.delete(pinned_folder(job_id, name))
            raise

    def _list(self, job_id: int) -> CheckpointListView:
        with self._database.reading() as session:
            return read_checkpoints(session, job_id)


def _gone(job_id: int, name: str) -> NotFoundError:
    return NotFoundError(f"Job {job_id} has no checkpoint {name!r} (any more): choose another one.")


def _damaged(job_id: int, name: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"Checkpoint {name} of job {job_id} is damaged: choose another one.", name=name)
