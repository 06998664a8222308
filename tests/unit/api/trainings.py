"""Trainings as the web application sees them: submitted over HTTP, with checkpoints as a worker saves them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask.testing import FlaskClient

from api.record.attempts import assign, record_events
from api.record.rows import find
from shared.events import AttemptStarted, CheckpointSaved, Event, EventBody
from shared.jobs import JobState
from tests.unit.api.conftest import TwinCore


class Jobs:
    """Submits trainings and has them save checkpoints, as a worker would."""

    def __init__(self, client: FlaskClient, core: TwinCore) -> None:
        self._client = client
        self._core = core

    def ask(self, *, address: str = "", **body: Any) -> tuple[int, dict[str, Any]]:
        answer = self._client.post(f"/api/v1/jobs{address}", json={"kind": "train", "dataset": "drums", **body})
        return answer.status_code, answer.get_json()

    def submit(self, **body: Any) -> dict[str, Any]:
        status, job = self.ask(**body)
        assert status == 201, job
        return job

    def save(self, job: dict[str, Any], *checkpoints: tuple[str, bool], kept: int = 99, end: bool = False) -> None:
        """Have a training, from its queue or at work, save: names, and whether each was the best when it was saved.

        The weights are the name. The newest `kept` stay,
        as with a trainer that removes the others; `end` makes the last one a final one.
        """
        bodies = list[EventBody]()
        for index, (name, best) in enumerate(checkpoints):
            step = int(name.split("-")[1])
            self.write(job, name)
            bodies.append(
                CheckpointSaved(
                    name=name,
                    epoch=step // 10,
                    step=step,
                    reason="final" if end and index == len(checkpoints) - 1 else "interval",
                    best=best,
                    size_bytes=10,
                    seconds=0.1,
                    val_reconstruction=1 / step,
                    kept=[other for other, _ in checkpoints][-kept:],
                )
            )
        for name, _ in checkpoints[:-kept]:
            self._core.storage.delete(f"jobs/{job['id']}/checkpoints/{name}")
        with self._core.database.session() as session:
            row = find(session, job["id"])
            if row.state == JobState.QUEUED:
                assign(session, row, worker="here/cpu", device="cpu")
                bodies.insert(0, AttemptStarted(worker="here/cpu", device="cpu"))
            numbered = enumerate(bodies, row.last_number + 1)
            events = [
                Event(job_id=row.id, number=number, attempt=row.attempt, at=float(number), body=body)
                for number, body in numbered
            ]
            record_events(session, {row.id: events})

    def write(self, job: dict[str, Any], name: str, **changes: Any) -> None:
        step = int(name.split("-")[1])
        files = {"model.safetensors": name.encode(), "state.pt": b"state of " + name.encode()}
        manifest = {
            "format": 1,
            "name": name,
            "epoch": step // 10,
            "step": step,
            "config": job["train"],
            "versions": {"torch": "2"},
            "saved_at": float(step),
            "files": {file: {"sha256": sha256(data), "size_bytes": len(data)} for file, data in files.items()},
            **changes,
        }
        folder = f"jobs/{job['id']}/checkpoints/{name}"
        for file, data in files.items():
            self._core.storage.write(f"{folder}/{file}", data)
        self._core.storage.write(f"{folder}/manifest.json", json.dumps(manifest).encode())

    def kept(self) -> list[str]:
        """Names of the weights that are kept for trainings to start from."""
        return self._core.storage.names("weights")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
