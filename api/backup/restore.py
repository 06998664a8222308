"""Putting a backup back, into an empty home only.

    look: manifest, what is there already -> every hash -> files of the store -> record, last

Until the record is there, what was put back belongs to nobody, and the same restore goes on where it was cut off.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from api.backup.manifest import (
    RECORD_FILE,
    STORE_FOLDER,
    BackupManifest,
    check_own_files,
    read_files,
    read_manifest,
    write_durable,
)
from api.backup.record_copy import is_empty, put_record
from api.keeping.disk_use import PARTS
from api.keeping.installation import KEY as INSTALLATION_KEY
from api.record.database import Database
from shared.errors import DamagedError, InUseError, ServiceError, StorageFullError
from shared.redis_client import KEY_PREFIX
from shared.storage import FolderStorage, Storage, sha256_of
from shared.storage.folder import explained, fsync_folder

MARK: Final = "restoring.json"
"""In the data folder while a restore is at work: the manifest of what is put back."""
_SPARE_BYTES: Final = 64 << 20


class Restore:
    """Puts the backup in `folder` into the data folder `home`, the record of `database` and `storage`.

    Construction raises NotFoundError or ConfigError where there is no backup that can be read.
    """

    def __init__(self, folder: Path, *, home: Path, database: Database, storage: Storage, redis: Redis | None) -> None:
        """`redis` is an outside one; None for that which comes along, which is in the home."""
        self._folder = folder
        self._home = home
        self._database = database
        self._storage = storage
        self._redis = redis
        self.manifest: BackupManifest = read_manifest(folder)

    def check(self, *, tell: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Raise InUseError where something would be written over, StorageFullError, DamagedError for a bad byte.

        `tell` hears how many files of how many were looked at.
        """
        if not self._goes_on():
            self._check_empty()
        free = self._storage.free_bytes()
        if free is not None and self.manifest.size_bytes + _SPARE_BYTES > free and not self._goes_on():
            raise StorageFullError(
                f"The backup holds {self.manifest.size_bytes / 1e6:,.0f} MB, and there are {free / 1e6:,.0f} MB left:"
                " choose another disk."
            )
        check_own_files(self._folder, self.manifest)
        for done, file in enumerate(read_files(self._folder), 1):
            path = self._folder / STORE_FOLDER / file.key
            with explained(str(path)):
                if path.stat().st_size != file.size_bytes or sha256_of(path) != file.sha256:
                    raise DamagedError(f"{path} is damaged: use another backup.")
            tell(done, self.manifest.files)

    def put_back(self, *, tell: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Do it, after `check`."""
        with explained(str(self._home)):
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durable(self._home / MARK, self.manifest.model_dump_json().encode())
        for done, file in enumerate(read_files(self._folder), 1):
            self._storage.write_file(file.key, self._folder / STORE_FOLDER / file.key)
            tell(done, self.manifest.files)
        source, target = self._folder / RECORD_FILE, self._database.file
        if target is None:
            put_record(source, self._database)
        else:
            with explained(str(target)):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                copy = target.with_name(f"{target.name}.part")
                shutil.copyfile(source, copy)
                copy.chmod(0o600)
                copy.replace(target)
                fsync_folder(target.parent)
            self._database.migrate()
        (self._home / MARK).unlink()

    def _goes_on(self) -> bool:
        """Whether the home is what a restore of this very backup left that was cut off."""
        try:
            return (self._home / MARK).read_bytes() == self.manifest.model_dump_json().encode()
        except OSError:
            return False

    def _check_empty(self) -> None:
        home, own = self._home, "a backup is put back into an empty home only, never over something"
        with explained(str(home)):
            # A store may lie in the home; it is looked at below.
            there = sorted(path.name for path in home.iterdir()) if home.exists() else []
        if isinstance(self._storage, FolderStorage):
            there = [name for name in there if home / name != self._storage.root]
        if there:
            raise InUseError(f"The data folder {home} holds {there[0]}: {own}. Choose another with --data.")
        if self._database.file is None and not is_empty(self._database):
            raise InUseError(f"The database of DATABASE_URL holds a record: {own}. Give an empty one.")
        if self._database.file is not None and self._database.file.exists():
            raise InUseError(f"{self._database.file} exists: {own}. Choose another with DATABASE_URL.")
        if self._storage.exists(INSTALLATION_KEY) or any(self._storage.names(part) for part in PARTS):
            raise InUseError(f"The artifact store is not empty: {own}. Choose another with SPECTRAIN_STORAGE.")
        self._check_redis()

    def _check_redis(self) -> None:
        """What an outside Redis keeps of other days would mix with what is put back."""
        if self._redis is None:
            return
        try:
            left = next(self._redis.scan_iter(match=f"{KEY_PREFIX}*", count=1_000), None)
        except RedisError as error:
            raise ServiceError(
                f"The Redis of REDIS_URL does not answer ({error}): start it, or unset REDIS_URL."
            ) from error
        if left is not None:
            raise InUseError(
                "The Redis of REDIS_URL still holds what an installation left there: empty that database, or give"
                " another one."
            )
