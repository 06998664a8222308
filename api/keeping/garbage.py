"""Garbage: what the store and the data folder hold and nobody needs, found and removed while everything runs.

    store, listed -> units (a clip, a set of features, a job's folder …) -> the record, read after it -> what it lacks

The record tells of everything before, or soon after, it is in the store; so a unit that the store had first and the
record does not know afterwards is nobody's, unless it just came. Whatever changed within the last hour stays, and so
does what is announced (`api.keeping.arrivals`), which is asked at the moment that a unit goes.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.backup.hold import PINS, check_not_held, forget_hold, is_held
from api.keeping.arrivals import Arrivals
from api.keeping.disk_use import PARTS
from api.keeping.installation import Installation
from api.keeping.needed import has_clip, needed_clips, needed_features, needed_weights
from api.keeping.views import CollectedView, GarbageItem, GarbageKind, GarbageView
from api.record.database import Database
from api.record.tables import Checkpoint, Job
from api.store.uploads import ABANDONED_S
from shared.errors import StorageError
from shared.storage import FolderStorage, Storage
from shared.storage.folder import remove_stale

FRESH_S: Final = 3_600.0
"""What changed within so many seconds stays."""
_JOB: Final = re.compile(r"jobs/([0-9]{1,9})/(?:pinned/([^/]+)/)?")
_REASONS: Final[dict[GarbageKind, str]] = {
    "clip": "No dataset has it, in any version.",
    "features": "No job reads or makes them.",
    "weights": "No training starts from them.",
    "job": "The record has no such job.",
    "pinned": "The checkpoint is not pinned any more.",
    "backup": "A backup that was killed left it.",
    "upload": "It was never finished, and nothing came for a day.",
    "scratch": "A process that was killed left it.",
}

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class _Unit:
    """What goes or stays as a whole."""

    kind: GarbageKind
    key: str
    """Key or folder in the store; a path for what is beside it."""
    size_bytes: int = 0
    files: int = 0
    changed_at: float = 0.0
    """Of the file in it that changed last; infinite where the store does not tell."""


class _Needs:
    """What the record points to, as it was read."""

    def __init__(self, session: Session) -> None:
        self._clips = needed_clips(session)
        self._weights = needed_weights(session)
        self._features = needed_features(session)
        self._jobs = set(session.scalars(select(Job.id)))
        pinned = select(Checkpoint.job_id, Checkpoint.name).where(Checkpoint.is_model, Checkpoint.pinned)
        self._pinned = {(row.job_id, row.name) for row in session.execute(pinned)}
        self._is_held = is_held(session)

    def has(self, unit: _Unit) -> bool:
        name = unit.key.rpartition("/")[2]
        match unit.kind:
            case "clip":
                needed = name in self._clips
            case "features":
                needed = name in self._features
            case "weights":
                needed = name.partition(".")[0] in self._weights
            case "job":
                needed = int(name) in self._jobs
            case "pinned":
                needed = (int(unit.key.split("/")[1]), name) in self._pinned
            case "backup":
                needed = self._is_held
            case _:
                needed = False
        return needed


class Garbage:
    """Finds and removes. `folder` is the data folder's one for uploads.

    Both raise InUseError where the store is not that of the record, `collect` also while a backup is made.
    """

    def __init__(self, *, database: Database, storage: Storage, arrivals: Arrivals, folder: Path) -> None:
        self._database = database
        self._storage = storage
        self._arrivals = arrivals
        self._folder = folder
        self._installation = Installation(database, storage)
        self._installation.tie()
        self._turn = threading.Lock()

    def preview(self, *, fresh_s: float = FRESH_S) -> GarbageView:
        """What would go, and why."""
        found = self._find(fresh_s)
        return GarbageView(items=[_item(unit) for unit in found], size_bytes=sum(unit.size_bytes for unit in found))

    def collect(self, *, fresh_s: float = FRESH_S) -> CollectedView:
        """Remove what is garbage now, and tell what went."""
        gone: list[_Unit] = []
        left: list[_Unit] = []
        with self._database.session() as session:
            check_not_held(session)
            forget_hold(session)  # of one that was killed
        with self._turn:
            found = self._find(fresh_s)
            for unit in found:
                try:
                    went = self._remove(unit)
                except (StorageError, OSError) as error:
                    log.warning("gc.left", key=unit.key, error=str(error))
                    left.append(unit)
                else:
                    if went:
                        gone.append(unit)
        log.info("gc.done", removed=len(gone), left=len(left), freed_bytes=sum(unit.size_bytes for unit in gone))
        return CollectedView(
            removed=[_item(unit) for unit in gone],
            freed_bytes=sum(unit.size_bytes for unit in gone),
            left=[_item(unit) for unit in left],
        )

    def _find(self, fresh_s: float) -> list[_Unit]:
        self._installation.check()
        units = self._listed()
        # After the listing: what came into the store since then is not among the units.
        with self._database.reading() as session:
            needs = _Needs(session)
        before = time.time() - fresh_s
        found = [unit for unit in units if unit.changed_at <= before and not needs.has(unit)]
        gone_jobs = {unit.key for unit in found if unit.kind == "job"}
        found = [unit for unit in found if unit.kind != "pinned" or unit.key.partition("/pinned/")[0] not in gone_jobs]
        return [*sorted(found, key=lambda unit: (unit.kind, unit.key)), *self._left_behind(fresh_s)]

    def _listed(self) -> list[_Unit]:
        units: dict[str, _Unit] = {}
        for part in (*PARTS, PINS):
            for entry in self._storage.entries(part):
                for unit in _units_of(entry.key):
                    known = units.setdefault(unit.key, unit)
                    known.size_bytes += 0 if self._is_second_name(entry.key) else entry.size_bytes
                    known.files += 1
                    changed_at = float("inf") if entry.changed_at is None else entry.changed_at
                    known.changed_at = max(known.changed_at, changed_at)
        return list(units.values())

    def _is_second_name(self, key: str) -> bool:
        """Whether it is a backup's name for what has its first name still: in a folder that takes no space."""
        part, _, first = key.partition("/")
        return part == PINS and isinstance(self._storage, FolderStorage) and self._storage.exists(first)

    def _left_behind(self, fresh_s: float) -> list[_Unit]:
        """Uploads that were given up, and temporary files of processes that were killed."""
        patience_s = max(fresh_s, ABANDONED_S)
        files: dict[Path, GarbageKind] = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                files[path] = "upload"
        if isinstance(self._storage, FolderStorage):
            for path in sorted(self._storage.stale(older_than_s=patience_s)):
                files[path] = "scratch"
        units: list[_Unit] = []
        for path, kind in files.items():
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if time.time() - status.st_mtime > patience_s or kind == "scratch":
                units.append(_Unit(kind=kind, key=str(path), size_bytes=_size(path), files=1))
        return units

    def _remove(self, unit: _Unit) -> bool:
        if unit.kind == "upload":
            Path(unit.key).unlink(missing_ok=True)
            return True
        if unit.kind == "scratch":
            remove_stale(Path(unit.key))
            return True
        return self._arrivals.remove(self._storage, unit.key, unneeded=lambda: self._is_unneeded(unit))

    def _is_unneeded(self, unit: _Unit) -> bool:
        """Whether that is still so. Features and weights stay announced for long after a job came to need them, and
        numbers of jobs never come back."""
        _, *names = unit.key.split("/")
        with self._database.reading() as session:
            match unit.kind:
                case "clip":
                    return not has_clip(session, names[0])
                case "pinned":
                    row = session.get(Checkpoint, (int(names[0]), names[-1]))
                    return row is None or not row.pinned
                case "backup":
                    return not is_held(session)
                case _:
                    return True


def _units_of(key: str) -> list[_Unit]:
    """The units that a file of the store belongs to."""
    part, name, *rest = key.split("/")
    match part:
        case "clips" if not rest:
            return [_Unit(kind="clip", key=key)]
        case _ if part == PINS:
            return [_Unit(kind="backup", key=PINS)]
        case "weights" if not rest:
            return [_Unit(kind="weights", key=key)]
        case "features" if rest:
            return [_Unit(kind="features", key=f"features/{name}")]
        case _:
            match = _JOB.match(key)
            if part != "jobs" or match is None:
                return []  # nothing of ours
            units = [_Unit(kind="job", key=f"jobs/{match[1]}")]
            return [*units, _Unit(kind="pinned", key=match[0].rstrip("/"))] if match[2] else units


def _item(unit: _Unit) -> GarbageItem:
    return GarbageItem(
        kind=unit.kind, key=unit.key, reason=_REASONS[unit.kind], size_bytes=unit.size_bytes, files=unit.files
    )


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder, as far as they are still there."""
    inside = (Path(place) / name for place, _, names in os.walk(path) for name in names)
    size_bytes = 0
    for each in inside if path.is_dir() else (path,):
        with suppress(FileNotFoundError):
            size_bytes += each.lstat().st_size
    return size_bytes
