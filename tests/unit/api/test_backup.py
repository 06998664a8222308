"""Backups of a record on either database: what is in one, what waits for it, and that it comes back whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from api.backup.hold import HOLD_S, PINS, Hold, check_not_held, held
from api.backup.make import Backup
from api.backup.manifest import BackupManifest, read_files
from api.backup.restore import MARK, Restore
from api.record.database import HEAD, Database
from api.record.datasets import DatasetRecord
from api.record.rows import find, move
from api.record.tables import Base, Checkpoint, QueueSetting
from shared.errors import DamagedError, InUseError, NotFoundError, StorageError
from shared.jobs import JobState
from shared.storage import FolderStorage
from tests.postgresql import PostgresServer
from tests.system import ROOT
from tests.unit.api.conftest import TwinCore, clip
from tests.unit.api.trainings import Jobs, sha256

ON_BOTH_DATABASES = True


@pytest.fixture
def jobs(client: FlaskClient, core: TwinCore, drums: int) -> Jobs:
    """Job 1 is completed with a pinned checkpoint, job 2 is at work; the clips are in the store."""
    assert drums == 1
    for number in range(12):
        # Their hashes are numbers here, so that these bytes count as damaged; what is about them writes real ones.
        core.storage.write(f"clips/{clip(number).sha256}", b"")
    jobs = Jobs(client, core)
    done, running = jobs.submit(name="done"), jobs.submit(name="running")
    jobs.save(done, ("1-100", True), ("1-200", False), end=True)
    jobs.save(running, ("1-10", True), ("1-20", False))
    core.storage.write("jobs/1/plan.json", b"{}")
    core.storage.write("jobs/1/previews/1-100/a.wav", b"of a preview that the record does not know")
    assert client.post("/api/v1/jobs/1/checkpoints/1-100/pin").status_code == 200
    with core.database.session() as session:
        move(session, find(session, 1), JobState.COMPLETED)
    return jobs


@pytest.fixture
def backup(core: TwinCore) -> Backup:
    with core.database.engine.begin() as connection:  # tables of the tests are made without migrations
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{HEAD}')")
    return Backup(database=core.database, storage=core.storage)


def keys(folder: Path) -> list[str]:
    return [file.key for file in read_files(folder)]


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All that a record holds."""
    with database.reading() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(tuple, session.execute(select(table))), key=repr) for table in tables}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Path, Database, FolderStorage]]:
    """An empty one."""
    folder = tmp_path / "home"
    with closing(Database(f"sqlite:///{folder / 'record.db'}")) as database:
        yield folder, database, FolderStorage(folder / "store")


@pytest.mark.usefixtures("jobs")
def test_what_the_record_names_is_in_it_and_comes_back(
    core: TwinCore, backup: Backup, tmp_path: Path, home: tuple[Path, Database, FolderStorage]
) -> None:
    folder, before = tmp_path / "backup", rows(core.database)
    made = backup.make(folder)

    checkpoints = [f"jobs/1/checkpoints/{name}" for name in ("1-100", "1-200")]
    folders = [*checkpoints, "jobs/1/pinned/1-100", "jobs/2/checkpoints/1-10", "jobs/2/checkpoints/1-20"]
    wanted = [f"{each}/{file}" for each in folders for file in ("manifest.json", "model.safetensors", "state.pt")]
    assert keys(folder) == sorted([*wanted, "installation.json", "jobs/1/plan.json"])
    assert (made.datasets, made.jobs, made.models) == (1, {"completed": 1, "running": 1}, 3)
    assert made.lost == [f"clips/{number:064x}" for number in range(12)], "their bytes are not those of their names"
    assert core.storage.names(PINS) == []
    assert folder.stat().st_mode & 0o077 == (folder / "record.db").stat().st_mode & 0o077 == 0
    assert rows(core.database) == before, "the hold is gone"

    place, database, storage = home
    restore = Restore(folder, home=place, database=database, storage=storage, redis=None)
    restore.check()
    restore.put_back()
    assert rows(database) == before
    for file in read_files(folder):
        assert storage.read(file.key) == core.storage.read(file.key)
    assert not (place / MARK).exists()
    with pytest.raises(InUseError, match="never over something"):
        restore.check()


@pytest.mark.usefixtures("jobs")
def test_nothing_is_deleted_while_it_is_made(
    client: FlaskClient, core: TwinCore, backup: Backup, tmp_path: Path
) -> None:
    spare = client.post("/api/v1/datasets", json={"name": "spare"}).get_json()["id"]
    with held(core.database):
        for refused in (
            client.delete("/api/v1/jobs/1"),
            client.delete(f"/api/v1/datasets/{spare}"),
            client.post("/api/v1/jobs/1/checkpoints/1-100/unpin"),
            client.post("/api/v1/disk/garbage/collect", json={}),
        ):
            assert refused.status_code == 409
            assert "A backup is being made" in refused.get_json()["error"]
        with pytest.raises(InUseError, match="A backup is being made"):
            backup.make(tmp_path / "backup")
    assert client.delete("/api/v1/jobs/1").status_code == 200


def test_a_backup_that_stood_still_leaves_the_next_one_its_hold(core: TwinCore) -> None:
    first, second = Hold(core.database), Hold(core.database)
    first.take()
    with core.database.session() as session:
        [row] = session.scalars(select(QueueSetting))
        row.value = {**row.value, "until": time.time() - 1.0}
    first.check()  # nobody came in between
    second.take()
    with pytest.raises(InUseError, match="stood still for so long"):
        first.check()
    first.renew()
    first.end()
    assert (first.is_ours(), second.is_ours()) == (False, True)
    with core.database.reading() as session, pytest.raises(InUseError, match="A backup is being made"):
        check_not_held(session)
    second.end()
    with core.database.reading() as session:
        check_not_held(session)


_BACKUP_THAT_WAITS = """
import sys
from pathlib import Path
from api.backup.make import Backup
from api.record.database import Database
from shared.storage import FolderStorage

def say(sentence):
    print(sentence, flush=True)
    if sentence.startswith("Copying"):
        sys.stdin.read()

Backup(database=Database(sys.argv[1]), storage=FolderStorage(Path(sys.argv[2])), say=say).make(Path(sys.argv[3]))
"""


def killed_backup(core: TwinCore, folder: Path) -> None:
    """One that gets as far as having its pins."""
    arguments = [core.database.engine.url.render_as_string(hide_password=False), str(core.storage.root), str(folder)]
    with subprocess.Popen(
        [sys.executable, "-c", _BACKUP_THAT_WAITS, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        process.kill()
    assert said[1].startswith("Copying"), said
    assert core.storage.names(PINS) == ["jobs"]


def pass_two_minutes(core: TwinCore) -> None:
    with core.database.session() as session:
        row = session.get_one(QueueSetting, "backup")
        assert 0 < row.value["until"] - time.time() <= HOLD_S
        row.value = {"until": row.value["until"] - HOLD_S}


@pytest.mark.usefixtures("jobs", "backup")
def test_what_a_killed_backup_leaves_is_garbage(client: FlaskClient, core: TwinCore, tmp_path: Path) -> None:
    killed_backup(core, tmp_path / "backup")

    def garbage() -> list[dict[str, Any]]:
        items = client.get("/api/v1/disk/garbage?fresh_s=0").get_json()["items"]
        return [item for item in items if item["kind"] == "backup"]

    assert garbage() == [], "it may still be made"
    assert client.post("/api/v1/disk/garbage/collect", json={"fresh_s": 0}).status_code == 409
    pass_two_minutes(core)
    before = [entry.key for entry in core.storage.entries("jobs/2")]
    [found] = garbage()
    assert found == {**found, "key": PINS, "reason": "A backup that was killed left it.", "size_bytes": 0, "files": 6}
    core.storage.delete("jobs/2/checkpoints/1-10")
    assert garbage()[0]["size_bytes"] > 0, "these have no other name now"
    collected = client.post("/api/v1/disk/garbage/collect", json={"fresh_s": 0}).get_json()
    assert PINS in [item["key"] for item in collected["removed"]]
    assert core.storage.names(PINS) == []
    assert [entry.key for entry in core.storage.entries("jobs/2")] == [key for key in before if "/1-10/" not in key]
    with core.database.reading() as session:
        assert session.get(QueueSetting, "backup") is None


@pytest.mark.usefixtures("jobs")
def test_the_next_backup_goes_where_a_killed_one_was(core: TwinCore, backup: Backup, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    killed_backup(core, folder)
    with pytest.raises(InUseError, match="A backup is being made"):
        backup.make(folder)
    pass_two_minutes(core)
    core.storage.write(f"{PINS}/jobs/77/checkpoints/1-1/state.pt", b"of a job that is long gone")
    made = backup.make(folder)
    assert not any("/77/" in key for key in keys(folder))
    assert made.jobs == {"completed": 1, "running": 1}
    assert core.storage.names(PINS) == []


@pytest.mark.parametrize(
    ("gone", "is_kept"),
    [
        pytest.param("jobs/2/checkpoints/1-10", True, id="of a running job: pinned, and so in it"),
        pytest.param("jobs/1/checkpoints/1-200", False, id="of one that was resumed: the record is taken anew"),
    ],
)
@pytest.mark.usefixtures("jobs")
def test_a_checkpoint_that_a_trainer_removes_meanwhile(
    core: TwinCore, backup: Backup, monkeypatch: pytest.MonkeyPatch, *, gone: str, is_kept: bool
) -> None:
    folder = core.settings.data / "backup"
    read, (_, job_id, _, name) = core.storage.file, gone.split("/")

    def racing(key: str) -> Path:
        if core.storage.names(gone):
            core.storage.delete(gone)
            with core.database.session() as session:
                session.delete(session.get_one(Checkpoint, (int(job_id), name)))
        return read(key)

    with monkeypatch.context() as patch:
        # The pins are made by then: a second name in a folder is not read through this.
        patch.setattr(Backup, "_copy", racing_copy(core, patch, racing))
        made = backup.make(folder)
    assert core.storage.names(gone) == [], "it went while the backup was made"
    assert gone not in made.lost
    assert any((folder / "store" / gone).glob("*")) is is_kept
    assert any(key.startswith(gone) for key in keys(folder)) is is_kept
    with closing(Database(f"sqlite:///{folder / 'record.db'}")) as copy, copy.reading() as session:
        assert (session.get(Checkpoint, (int(job_id), name)) is not None) is is_kept


def racing_copy(core: TwinCore, patch: pytest.MonkeyPatch, racing: Callable[[str], Path]) -> Callable[..., set[str]]:
    """Copying, during which files are read by `racing`."""
    copy = Backup._copy

    def copying(self: Backup, *arguments: Any) -> set[str]:
        patch.setattr(core.storage, "file", racing)
        return copy(self, *arguments)

    return copying


@pytest.mark.usefixtures("jobs")
def test_what_is_damaged_in_a_backup_is_put_back_nowhere(
    backup: Backup, tmp_path: Path, home: tuple[Path, Database, FolderStorage]
) -> None:
    folder, (place, database, storage) = tmp_path / "backup", home
    backup.make(folder)
    weights = folder / "store" / "jobs/1/pinned/1-100/model.safetensors"
    for path in (weights, folder / "record.db", folder / "files.jsonl"):
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(DamagedError, match=rf"{path.name} is damaged: use another backup"):
            Restore(folder, home=place, database=database, storage=storage, redis=None).check()
        path.write_bytes(whole)
    weights.unlink()
    with pytest.raises(StorageError):
        Restore(folder, home=place, database=database, storage=storage, redis=None).check()
    assert list(place.iterdir()) == [storage.root]
    (folder / "backup.json").unlink()
    with pytest.raises(NotFoundError, match="no finished backup"):
        Restore(folder, home=place, database=database, storage=storage, redis=None)


@pytest.mark.usefixtures("jobs")
def test_a_key_that_leads_out_of_the_store_is_no_key(
    backup: Backup, tmp_path: Path, home: tuple[Path, Database, FolderStorage]
) -> None:
    folder, (place, database, storage) = tmp_path / "backup", home
    backup.make(folder)
    hostile = json.dumps({"key": "../../outside", "sha256": "0" * 64, "size_bytes": 1}).encode()
    (folder / "files.jsonl").write_bytes(hostile)
    manifest = BackupManifest.model_validate_json((folder / "backup.json").read_bytes())
    forged = manifest.model_copy(update={"list_sha256": sha256(hostile)})
    (folder / "backup.json").write_text(forged.model_dump_json())
    with pytest.raises(StorageError, match="is not a key"):
        Restore(folder, home=place, database=database, storage=storage, redis=None).check()


@pytest.mark.usefixtures("jobs")
def test_a_restore_that_was_cut_off_goes_on(
    backup: Backup, tmp_path: Path, home: tuple[Path, Database, FolderStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (place, database, storage) = tmp_path / "backup", home
    backup.make(folder)
    restore = Restore(folder, home=place, database=database, storage=storage, redis=None)
    write, written = storage.write_file, list[str]()

    def cut_off(key: str, path: Path) -> None:
        if len(written) == 5:
            raise StorageError("The disk was pulled out.")
        written.append(key)
        write(key, path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_file", cut_off)
        with pytest.raises(StorageError, match="pulled out"):
            restore.put_back()
    assert not (place / "record.db").exists()
    restore.check()
    restore.put_back()
    there = [entry.key for entry in storage.entries("jobs")]
    assert sorted([*there, "installation.json"]) == sorted(keys(folder))
    assert len(rows(database)["jobs"]) == 2


def test_a_backup_goes_into_an_empty_folder_only(backup: Backup, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(InUseError, match="not empty"):
        backup.make(tmp_path / "taken")
    backup.make(tmp_path / "first")
    with pytest.raises(InUseError, match="not empty"):
        backup.make(tmp_path / "first")


@pytest.mark.usefixtures("jobs")
def test_it_is_put_back_into_postgresql_too(
    core: TwinCore, backup: Backup, tmp_path: Path, postgresql: PostgresServer
) -> None:
    backup.make(tmp_path / "backup")
    storage = FolderStorage(tmp_path / "other")
    with postgresql.record() as url, closing(Database(url)) as database:
        restore = Restore(tmp_path / "backup", home=tmp_path / "home", database=database, storage=storage, redis=None)
        restore.check()
        restore.put_back()
        assert rows(database) == rows(core.database)
        assert DatasetRecord(database).create("next").id == 2
        with pytest.raises(InUseError, match="holds a record"):
            Restore(tmp_path / "backup", home=tmp_path / "new", database=database, storage=storage, redis=None).check()
