"""Datasets in the record: their names, the clips that they have, and the versions that jobs keep.

A version is counted when a dataset's content is used and differs from what was used last: files that come in one
after the other before the first job are all version 1. The bytes of a clip are in the artifact store.
"""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from sqlalchemy import Row, bindparam, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.datasets.views import ClipView, DatasetDetailView, DatasetView
from api.record.database import Database
from api.record.queue_settings import free_number
from api.record.rows import known_clips
from api.record.sounds import SoundMeasures, keep_measures, measures_of
from api.record.tables import Dataset, DatasetClip, DatasetVersion, Job
from shared.errors import ConfigError, InUseError, NotFoundError
from shared.jobs import Clip, DatasetSnapshot

MAX_NAME_LENGTH: Final = 200
MAX_CLIP_NAME_LENGTH: Final = 1024
_LARGEST_ID: Final = 2**31 - 1
# What every submission asks is built once: that takes as long as the asking.
_BY_ID: Final = select(Dataset).where(Dataset.id == bindparam("id"))
_BY_NAME: Final = select(Dataset).where(Dataset.name == bindparam("name"))
_HASHES: Final = (
    select(func.aggregate_strings(DatasetClip.sha256, " "))
    .where(DatasetClip.dataset_id == Dataset.id)
    .scalar_subquery()
)
"""Of the clips that a dataset has now, in one string."""
_WITH_NEWEST: Final = (
    select(
        Dataset.id,
        Dataset.name,
        DatasetVersion.id.label("version_id"),
        DatasetVersion.created_at,
        DatasetVersion.version,
        DatasetVersion.version_hash,
        DatasetVersion.clips.is_not(None).label("has_clips"),
        _HASHES.label("hashes"),
    )
    .outerjoin(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
    .order_by(DatasetVersion.version.desc())
    .limit(1)
)
_WITH_NEWEST_BY_ID: Final = _WITH_NEWEST.where(Dataset.id == bindparam("id"))
_WITH_NEWEST_BY_NAME: Final = _WITH_NEWEST.where(Dataset.name == bindparam("name"))


@dataclass(frozen=True, kw_only=True)
class AddedClip:
    """What became of a clip that was to be added."""

    name: str
    """The name that it has in the dataset."""
    added: bool
    """False when the dataset had the same content already, under `name`."""


class DatasetRecord:
    """Reads and writes datasets. A dataset is addressed by its id or by its name; both raise NotFoundError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> DatasetView:
        """An empty dataset; raises ConfigError for a bad name and InUseError for one that exists."""
        name = check_dataset_name(name)
        try:
            with self._database.session() as session:
                row = Dataset(id=free_number(session, "dataset"), name=name, created_at=time.time())
                session.add(row)
                session.flush()
                return _view(session, row)
        except IntegrityError as error:
            raise InUseError(f"A dataset named {name!r} exists already: choose another name.") from error

    def all(self) -> list[DatasetView]:
        """All datasets, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(Dataset).order_by(Dataset.created_at.desc(), Dataset.id.desc())).all()
            return _views(session, rows)

    def view(self, key: int | str) -> DatasetView:
        """One dataset as lists show it."""
        with self._database.reading() as session:
            return _view(session, find_dataset(session, key))

    def detail(self, key: int | str) -> DatasetDetailView:
        """One dataset with its files, sorted by name."""
        with self._database.reading() as session:
            row = find_dataset(session, key)
            files = _clip_views(session, _clips(session, row.id))
            return DatasetDetailView(**_view(session, row).model_dump(), files=files)

    def clip(self, key: int | str, sha256: str) -> Clip:
        """One clip that the dataset has now; raises NotFoundError."""
        with self._database.reading() as session:
            row = session.scalar(
                select(DatasetClip).where(
                    DatasetClip.dataset_id == find_dataset(session, key).id, DatasetClip.sha256 == sha256
                )
            )
            if row is None:
                raise NotFoundError(f"Dataset {key} has no clip {sha256[:12]}….")
            return _clip(row)

    def has_clip(self, dataset_id: int, sha256: str) -> bool:
        """Whether a dataset has that content now."""
        with self._database.reading() as session:
            where = DatasetClip.dataset_id == dataset_id, DatasetClip.sha256 == sha256
            return session.scalar(select(DatasetClip.id).where(*where)) is not None

    def size_bytes(self, dataset_id: int) -> int:
        """Bytes of the files that a dataset has now."""
        with self._database.reading() as session:
            total = select(func.sum(DatasetClip.size_bytes)).where(DatasetClip.dataset_id == dataset_id)
            return int(session.scalar(total) or 0)

    def add_clips(
        self, dataset_id: int, clips: Iterable[Clip], *, measures: Iterable[tuple[str, SoundMeasures]] = ()
    ) -> list[AddedClip]:
        """Add `clips`, whose bytes are in the store, with what was measured of them; tell what became of each.

        Content that the dataset has already is left as it is. Other content under a name that is taken gets
        " (2)", " (3)" … before the extension.
        """
        with self._database.session() as session:
            # The row's lock makes uploads into one dataset take turns where the database itself does not.
            if session.scalar(select(Dataset).where(Dataset.id == dataset_id).with_for_update()) is None:
                raise NotFoundError(f"There is no dataset {dataset_id}.")
            rows = session.execute(
                select(DatasetClip.sha256, DatasetClip.name).where(DatasetClip.dataset_id == dataset_id)
            )
            present: dict[str, str] = {row.sha256: row.name for row in rows}
            taken = set(present.values())
            results: list[AddedClip] = []
            for clip in clips:
                if clip.sha256 in present:
                    results.append(AddedClip(name=present[clip.sha256], added=False))
                    continue
                name = free_name(clip.name, taken)
                session.add(
                    DatasetClip(
                        dataset_id=dataset_id, added_at=time.time(), **clip.model_dump(exclude={"name"}), name=name
                    )
                )
                present[clip.sha256] = name
                taken.add(name)
                results.append(AddedClip(name=name, added=True))
            keep_measures(session, measures)
            return results

    def remove_clips(self, key: int | str, hashes: Collection[str]) -> DatasetView:
        """Take clips out: the dataset's next version. Jobs keep the version that they have, and its clips."""
        with self._database.session() as session:
            row = find_dataset(session, key)
            # With the row's lock, as for adding.
            session.scalar(select(Dataset.id).where(Dataset.id == row.id).with_for_update())
            own = (DatasetClip.dataset_id == row.id, DatasetClip.sha256.in_(hashes))
            missing = set(hashes) - set(session.scalars(select(DatasetClip.sha256).where(*own)))
            if missing:
                raise NotFoundError(f"Dataset {key} has no clip {min(missing)[:12]}….", field="clips")
            session.execute(delete(DatasetClip).where(*own))
            session.flush()
            return _view(session, row)

    def snapshot(self, key: int | str) -> DatasetSnapshot:
        """The dataset as it is now, as a version that is kept for good unless it is empty."""
        with self._database.reading() as session:
            snapshot, is_kept = _snapshot(session, key)
        if is_kept or not snapshot.clips:
            return snapshot
        with self._database.session() as session:
            snapshot, is_kept = _snapshot(session, key)
            if not is_kept:
                session.add(
                    DatasetVersion(
                        dataset_id=snapshot.dataset_id,
                        version=snapshot.version,
                        version_hash=snapshot.version_hash,
                        created_at=time.time(),
                    )
                )
            return snapshot


def check_dataset_name(name: str) -> str:
    """`name`, trimmed and in Unicode's composed form; raises ConfigError for one that cannot be a name.

    Ids and names share their place in addresses: so a name is not a number, and has no slash.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise ConfigError(f"Give the dataset a name of 1 to {MAX_NAME_LENGTH} characters.", field="name")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ConfigError("A dataset's name cannot have control characters: leave them out.", field="name")
    if "/" in name or "\\" in name or not name.strip("."):
        raise ConfigError("A dataset's name cannot have slashes or be made of dots only: leave them out.", field="name")
    if name.isdecimal():
        raise ConfigError("A dataset's name cannot be a number only: add a letter.", field="name")
    return name


def content_hash(hashes: Iterable[str]) -> str:
    """SHA-256 over the sorted hashes of the clips, one a line."""
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in sorted(hashes)).encode()).hexdigest()


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or the first of "stem (2).wav", "stem (3).wav" … that is not taken."""
    candidate, number = name, 1
    path = PurePosixPath(name)
    while candidate in taken:
        number += 1
        ending = f" ({number}){path.suffix}"
        candidate = name.removesuffix(path.suffix)[: MAX_CLIP_NAME_LENGTH - len(ending)] + ending
    return candidate


def find_dataset(session: Session, key: int | str) -> Dataset:
    """The row of a dataset, by its id or its name; raises NotFoundError."""
    known_by = _known_by(key)
    row = session.scalar(_BY_ID if "id" in known_by else _BY_NAME, known_by)
    if row is None:
        raise _unknown(key)
    return row


def _known_by(key: int | str) -> dict[str, int | str]:
    """The parameter of a statement that looks for a dataset: its id or its name."""
    text = str(key)
    if text.isascii() and text.isdigit():
        return {"id": min(int(text[:12]), _LARGEST_ID)}
    return {"name": unicodedata.normalize("NFC", text)}


def _unknown(key: int | str) -> NotFoundError:
    return NotFoundError(f"There is no dataset {key if 'id' in _known_by(key) else repr(str(key))}.")


def _clip(row: DatasetClip) -> Clip:
    return Clip(
        sha256=row.sha256,
        name=row.name,
        num_samples=row.num_samples,
        sample_rate=row.sample_rate,
        channels=row.channels,
        format=row.format,
        size_bytes=row.size_bytes,
    )


def _clips(session: Session, dataset_id: int) -> list[Clip]:
    # Columns, not objects: a dataset may have thousands of clips, and every submission reads them.
    rows = session.execute(
        select(
            DatasetClip.sha256,
            DatasetClip.name,
            DatasetClip.num_samples,
            DatasetClip.sample_rate,
            DatasetClip.channels,
            DatasetClip.format,
            DatasetClip.size_bytes,
        ).where(DatasetClip.dataset_id == dataset_id)
    ).mappings()
    return sorted((Clip.model_validate(dict(row)) for row in rows), key=lambda clip: clip.name)


def _clip_views(session: Session, clips: Sequence[Clip]) -> list[ClipView]:
    measures = measures_of(session, [clip.sha256 for clip in clips])
    first: dict[str, str] = {}
    """Name of the first clip with each sound."""
    views: list[ClipView] = []
    for clip in clips:
        known = measures.get(clip.sha256)
        same_as = ""
        if known is not None and first.setdefault(known.sound_sha256, clip.name) != clip.name:
            same_as = first[known.sound_sha256]
        views.append(
            ClipView(
                **clip.model_dump(exclude={"num_samples"}),
                duration_s=clip.duration_s,
                peak=known and known.peak,
                rms=known and known.rms,
                clipped=known.clipped if known else 0,
                silent_before_s=known.silent_before / clip.sample_rate if known else 0.0,
                silent_after_s=known.silent_after / clip.sample_rate if known else 0.0,
                same_as=same_as,
            )
        )
    return views


def _snapshot(session: Session, key: int | str) -> tuple[DatasetSnapshot, bool]:
    """A dataset as it is now, and whether that version is kept already."""
    known_by = _known_by(key)
    row = session.execute(_WITH_NEWEST_BY_ID if "id" in known_by else _WITH_NEWEST_BY_NAME, known_by).first()
    if row is None:
        raise _unknown(key)
    version_hash = content_hash((row.hashes or "").split())
    is_kept = row.version_hash == version_hash
    if is_kept and row.has_clips:
        clips = known_clips(session, row.version_id, row.created_at)
    else:
        clips = tuple(_clips(session, row.id))
    version = (row.version or 0) + (not is_kept)
    snapshot = DatasetSnapshot(
        dataset_id=row.id, name=row.name, version=version, version_hash=version_hash, clips=clips
    )
    return snapshot, is_kept


def _view(session: Session, row: Dataset) -> DatasetView:
    return _views(session, [row])[0]


def _views(session: Session, rows: Sequence[Dataset]) -> list[DatasetView]:
    ids = [row.id for row in rows]
    newest = _newest_versions(session, ids)
    # dataset, hash, samples, rate, channels, bytes
    clips: dict[int, list[Row[int, str, int, int, int, int]]] = {dataset_id: [] for dataset_id in ids}
    for clip in session.execute(
        select(
            DatasetClip.dataset_id,
            DatasetClip.sha256,
            DatasetClip.num_samples,
            DatasetClip.sample_rate,
            DatasetClip.channels,
            DatasetClip.size_bytes,
        ).where(DatasetClip.dataset_id.in_(ids))
    ):
        clips[clip.dataset_id].append(clip)
    counts = session.execute(
        select(Job.dataset_id, func.count().label("jobs")).where(Job.dataset_id.in_(ids)).group_by(Job.dataset_id)
    )
    jobs: dict[int, int] = {row.dataset_id: row.jobs for row in counts}
    return [
        DatasetView(
            id=row.id,
            name=row.name,
            version=_version_now(newest.get(row.id), [clip.sha256 for clip in clips[row.id]]),
            clips=len(clips[row.id]),
            duration_s=sum(clip.num_samples / clip.sample_rate for clip in clips[row.id]),
            size_bytes=sum(clip.size_bytes for clip in clips[row.id]),
            sample_rates=sorted({clip.sample_rate for clip in clips[row.id]}),
            channels=sorted({clip.channels for clip in clips[row.id]}),
            jobs=jobs.get(row.id, 0),
            created_at=row.created_at,
        )
        for row in rows
    ]


def _version_now(newest: DatasetVersion | None, hashes: list[str]) -> int:
    """The version that a snapshot of this content would have."""
    if newest is None:
        return 1
    return newest.version if newest.version_hash == content_hash(hashes) else newest.version + 1


def _newest_versions(session: Session, dataset_ids: Sequence[int]) -> dict[int, DatasetVersion]:
    rows = session.scalars(
        select(DatasetVersion)
        .where(DatasetVersion.dataset_id.in_(dataset_ids))
        .order_by(DatasetVersion.dataset_id, DatasetVersion.version)
    )
    return {row.dataset_id: row for row in rows}
