"""Models from outside in the record: what else happens while their file is stored."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from flask_openapi.openapi import OpenAPI
from sqlalchemy import select

from api.keeping import imports
from api.keeping.imports import CHECKPOINT, Imports
from api.record.attempts import record_events
from api.record.rows import find
from api.record.tables import Outbox
from api.services import EXTENSION
from shared.errors import StorageFullError
from shared.events import Event
from shared.presets import resolve_train_config
from tests.unit.api.conftest import TwinCore


@pytest.fixture
def importing(app: OpenAPI, monkeypatch: pytest.MonkeyPatch) -> Imports:
    """Takes any file for a model."""
    monkeypatch.setattr(imports, "check_model_file", lambda _path: None)
    monkeypatch.setattr(imports, "train_config", lambda _description: resolve_train_config(file_count=12))
    return app.extensions[EXTENSION].imports


def send_outbox(core: TwinCore) -> None:
    """Have what is in the outbox numbered and recorded, as the bus and the recorder do at any moment."""
    with core.database.session() as session:
        for row in session.scalars(select(Outbox).order_by(Outbox.id)).all():
            job = find(session, row.job_id)
            told = {"job_id": job.id, "number": (job.last_number or 0) + 1, "attempt": row.attempt, "at": row.at}
            record_events(session, {job.id: [Event.model_validate({**told, "body": row.body})]})
            session.delete(row)


def test_nothing_that_is_told_meanwhile_takes_the_place_of_the_checkpoint(
    core: TwinCore, importing: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file, sent = core.storage.write_file, list[str]()

    def write_slowly(key: str, path: Path) -> None:
        send_outbox(core)
        sent.append(key)
        write_file(key, path)

    monkeypatch.setattr(core.storage, "write_file", write_slowly)
    job_id = importing.receive("mine", BytesIO(b"weights"), 7)
    assert len(sent) == 1
    assert [checkpoint.name for checkpoint in core.jobs.checkpoints(job_id).checkpoints] == [CHECKPOINT]
    send_outbox(core)
    events = core.jobs.events(job_id).events
    assert [event.body.type for event in events] == ["checkpoint", "state"], "it was never held"


def test_the_number_of_one_that_could_not_be_kept_never_comes_back(
    core: TwinCore, importing: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = list[str]()

    def fails(key: str, _path: Path) -> None:
        keys.append(key)
        raise StorageFullError("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(core.storage, "write_file", fails)
        with pytest.raises(StorageFullError):
            importing.receive("mine", BytesIO(b"weights"), 7)
    [key] = keys
    job_id = importing.receive("mine", BytesIO(b"weights"), 7)
    assert not key.startswith(f"jobs/{job_id}/")
    assert core.storage.names("jobs") == [str(job_id)]
