"""Making a backup while everything runs.

    hold -> record, one consistent state -> pin what running jobs may remove -> copy what that record names, verified
         -> gone meanwhile? the record anew, and what is new of it -> list, manifest

Files of the store never change under their key, so what was copied for an earlier state of the record serves a later
one. Nothing is deleted meanwhile (`api.backup.hold`), but for checkpoints that a trainer replaces: those of jobs that
run get a second name in the store first, which in a folder takes no space.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy import func, select

from api.backup.hold import PINS, Hold, forget_hold, held
from api.backup.manifest import (
    LIST_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    STORE_FOLDER,
    BackedUpFile,
    BackupManifest,
    free_bytes,
    write_durable,
)
from api.backup.record_copy import copy_record
from api.checkpoint_files import MANIFEST_FILE as CHECKPOINT_MANIFEST
from api.checkpoint_files import CheckpointManifest, pinned_folder, trained_folder
from api.keeping.installation import KEY as INSTALLATION_KEY
from api.keeping.needed import needed_clips, needed_features, needed_weights
from api.record.database import Database
from api.record.rows import DELETION
from api.record.tables import Checkpoint, Dataset, Job, Preview
from shared.errors import InUseError, NotFoundError, StorageFullError
from shared.jobs import ACTIVE, start_weights_key
from shared.storage import Storage, sha256_of
from shared.storage.base import hash_in_name
from shared.storage.folder import explained
from shared.version import VERSION

_CHUNK_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 64 << 20

Told = Callable[[str], None]
"""Takes a sentence for the person who waits."""


@dataclass(kw_only=True)
class _Wanted:
    """What a state of the record names."""

    keys: list[str] = field(default_factory=list)
    """Single files."""
    folders: list[str] = field(default_factory=list)
    """All that is under them; those first that a trainer may remove."""
    pinned: dict[str, str] = field(default_factory=dict)
    """Folders that are read somewhere else: where."""
    datasets: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    models: int = 0


class Backup:
    """Backs up the record of `database` with what it names in `storage`."""

    def __init__(self, *, database: Database, storage: Storage, say: Told = lambda _sentence: None) -> None:
        self._database = database
        self._storage = storage
        self._say = say

    def make(self, folder: Path, *, features: bool = True) -> BackupManifest:
        """Make one in `folder`, which is new or empty; without `features` they are left to be made again.

        Raises InUseError where something is there, or another backup is being made; StorageFullError; StorageError.
        """
        _prepare(folder)
        with held(self._database) as hold:
            self._storage.delete(PINS)  # those of a backup that was killed
            try:
                return self._rounds(folder, hold, features=features)
            finally:
                if hold.is_ours():
                    self._storage.delete(PINS)

    def _rounds(self, folder: Path, hold: Hold, *, features: bool) -> BackupManifest:
        done: dict[str, BackedUpFile] = {}
        lost: set[str] | None = None
        while True:
            made_at = time.time()
            self._say("Taking the record." if lost is None else "Something went meanwhile: taking the record anew.")
            (folder / RECORD_FILE).unlink(missing_ok=True)
            copy_record(self._database, folder / RECORD_FILE)
            (folder / RECORD_FILE).chmod(0o600)
            wanted = self._wanted(folder / RECORD_FILE, features=features)
            if lost is None:
                self._check_space(folder, wanted)
            before, lost = lost or set(), self._copy(folder, wanted, done)
            # Nobody but a trainer removes anything now; and what a later record still names is gone for good.
            if not any(key.startswith("jobs/") for key in lost - before):
                hold.check()
                return self._finish(folder, wanted, done, lost, made_at=made_at, features=features)

    def _wanted(self, record: Path, *, features: bool) -> _Wanted:
        wanted = _Wanted()
        with closing(Database(f"sqlite:///{record}")) as copy:
            with copy.session() as session:
                forget_hold(session)
            with copy.reading() as session:
                going = set(session.scalars(select(Job.id).where(Job.wish == DELETION)))
                active = set(session.scalars(select(Job.id).where(Job.state.in_([state.value for state in ACTIVE]))))
                for row in session.scalars(select(Checkpoint).order_by(Checkpoint.job_id, Checkpoint.at.desc())):
                    if row.job_id in going:
                        continue
                    if not row.only_pinned:
                        place = trained_folder(row.job_id, row.name)
                        wanted.folders.append(place)
                        if row.job_id in active:
                            wanted.pinned[place] = f"{PINS}/{place}"
                    if row.pinned:
                        wanted.folders.append(pinned_folder(row.job_id, row.name))
                for preview in session.scalars(select(Preview)):
                    if preview.job_id not in going:
                        wanted.folders.append(f"jobs/{preview.job_id}/previews/{preview.name}")
                if features:
                    wanted.folders += [f"features/{key}" for key in sorted(needed_features(session))]
                wanted.keys = [f"clips/{sha256}" for sha256 in sorted(needed_clips(session))]
                wanted.keys += [start_weights_key(sha256) for sha256 in sorted(needed_weights(session))]
                jobs = set(session.scalars(select(Job.id))) - going
                wanted.datasets = session.scalar(select(func.count()).select_from(Dataset)) or 0
                wanted.jobs = dict(Counter(session.scalars(select(Job.state))))
                wanted.models = session.scalar(select(func.count()).where(Checkpoint.is_model)) or 0
        for place in [place for place in wanted.folders if place in wanted.pinned]:
            self._pin(place, wanted.pinned[place])
        if self._storage.exists(INSTALLATION_KEY):
            wanted.keys.append(INSTALLATION_KEY)
        # What belongs to the job as a whole, such as the plan that it computes by; its folders' names have no dot.
        wanted.keys += [
            f"jobs/{job_id}/{name}"
            for job_id in sorted(jobs)
            for name in self._storage.names(f"jobs/{job_id}")
            if "." in name
        ]
        wanted.folders.sort(key=lambda place: place not in wanted.pinned)
        return wanted

    def _pin(self, place: str, pin: str) -> None:
        try:
            for entry in list(self._storage.entries(place)):
                self._storage.copy(entry.key, f"{pin}{entry.key.removeprefix(place)}")
        except NotFoundError:
            return  # it went at this very moment; the copy will miss it

    def _check_space(self, folder: Path, wanted: _Wanted) -> None:
        needed = sum(self._storage.stat(key).size_bytes for key in wanted.keys if self._storage.exists(key))
        for place in wanted.folders:
            needed += sum(entry.size_bytes for entry in self._storage.entries(place))
        free = free_bytes(folder)
        self._say(f"Copying {needed / 1e6:,.0f} MB.")
        if needed + _SPARE_BYTES > free:
            raise StorageFullError(
                f"The backup takes {needed / 1e6:,.0f} MB, and {folder} has {free / 1e6:,.0f} MB left: choose another"
                " disk, or leave the features out."
            )

    def _copy(self, folder: Path, wanted: _Wanted, done: dict[str, BackedUpFile]) -> set[str]:
        """Copy what is not `done`; returns what is not there, or damaged."""
        lost = set[str]()
        now = set[str]()
        for key, source in self._sources(wanted, lost):
            now.add(key)
            if key in done and _is_immutable(key):
                continue
            try:
                done[key] = self._copy_one(folder / STORE_FOLDER, key, source)
            except NotFoundError:
                lost.add(key)
        for key in [key for key in done if key not in now]:
            del done[key]
            (folder / STORE_FOLDER / key).unlink(missing_ok=True)
        return lost

    def _sources(self, wanted: _Wanted, lost: set[str]) -> Iterator[tuple[str, str]]:
        """Keys to copy, and where each is read; what a folder should have and has not is added to `lost`."""
        for place in wanted.folders:
            source = wanted.pinned.get(place, place)
            found = [entry.key for entry in self._storage.entries(source)]
            if place.startswith("jobs/") and not found:
                lost.add(place)
            is_checkpoint = place.split("/")[2:3] in (["checkpoints"], ["pinned"])
            if is_checkpoint and found and f"{source}/{CHECKPOINT_MANIFEST}" not in found:
                lost.add(place)
            for key in found:
                yield f"{place}{key.removeprefix(source)}", key
        for key in wanted.keys:
            yield key, key

    def _copy_one(self, root: Path, key: str, source: str) -> BackedUpFile:
        """Raises NotFoundError where the bytes are gone, or not those that they should be."""
        expected = hash_in_name(key) or self._sealed_hash(source)
        path = root / key
        with explained(str(path)):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with self._storage.file(source).open("rb") as file, explained(str(path)), path.open("wb") as copy:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
                    size += len(chunk)
                copy.flush()
                os.fsync(copy.fileno())
        except FileNotFoundError as error:
            raise NotFoundError(f"{source} is gone.") from error
        if expected and digest.hexdigest() != expected:
            path.unlink()
            raise NotFoundError(f"{source} is damaged.")
        return BackedUpFile(key=key, sha256=digest.hexdigest(), size_bytes=size)

    def _sealed_hash(self, source: str) -> str:
        """The hash that a checkpoint's manifest has for one of its files; empty for anything else."""
        place, _, name = source.rpartition("/")
        if name == CHECKPOINT_MANIFEST or not ("/checkpoints/" in source or "/pinned/" in source):
            return ""
        try:
            manifest = CheckpointManifest.model_validate_json(self._storage.read(f"{place}/{CHECKPOINT_MANIFEST}"))
        except ValidationError:
            return ""  # whoever loads it finds it damaged; it is kept as it is
        file = manifest.files.get(name)
        return "" if file is None else file.sha256

    def _finish(
        self,
        folder: Path,
        wanted: _Wanted,
        done: dict[str, BackedUpFile],
        lost: set[str],
        *,
        made_at: float,
        features: bool,
    ) -> BackupManifest:
        lines = "".join(f"{done[key].model_dump_json()}\n" for key in sorted(done)).encode()
        write_durable(folder / LIST_FILE, lines)
        record = folder / RECORD_FILE
        manifest = BackupManifest(
            version=VERSION,
            made_at=made_at,
            datasets=wanted.datasets,
            jobs=wanted.jobs,
            models=wanted.models,
            features=features,
            files=len(done),
            size_bytes=record.stat().st_size + sum(file.size_bytes for file in done.values()),
            record_sha256=sha256_of(record),
            list_sha256=hashlib.sha256(lines).hexdigest(),
            lost=sorted(lost),
        )
        write_durable(folder / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())
        return manifest


def _prepare(folder: Path) -> None:
    """Raise InUseError unless `folder` is new, empty, or what a backup left that was killed."""
    with explained(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        if MANIFEST_FILE in names or names - {RECORD_FILE, LIST_FILE, STORE_FOLDER, f"{LIST_FILE}.part"}:
            raise InUseError(f"{folder} is not empty: give a backup a folder of its own.")
        shutil.rmtree(folder / STORE_FOLDER, ignore_errors=True)


def _is_immutable(key: str) -> bool:
    """Whether a key's bytes never change: manifests of features and what is of a job as a whole may."""
    if hash_in_name(key):
        return True
    parts = key.split("/")
    return parts[0] == "jobs" and len(parts) > 3
