"""A server of a few lines for the tests of the command line: answers by route, requests kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api.datasets.views import DatasetView
from api.views import DatasetRef, JobDetailView, ProgressView
from deploy.cli import kept_tokens, login, run, session
from deploy.cli.api_client import ApiClient
from shared.jobs import JobState

Answer = BaseModel | tuple[int, dict[str, Any]] | httpx.Response | httpx.TransportError


class FakeServer:
    """Answers `METHOD path` with a view, a status and a body, a whole answer, or no connection.

    A list is used up one by one.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer] | Callable[[httpx.Request], Answer]] = {}
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path.removeprefix('/api/v1/')}")
        if answer is None:
            return httpx.Response(404, json={"error": f"Nothing at {request.url.path}.", "field": ""})
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, httpx.TransportError):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, BaseModel):
            return httpx.Response(200, json=answer.model_dump(mode="json"))
        status, body = answer
        return httpx.Response(status, json=body)

    def bodies(self, method: str, path: str) -> list[Any]:
        """JSON bodies of the requests that came."""
        wanted = f"/api/v1/{path}"
        return [
            json.loads(request.content)
            for request in self.requests
            if request.method == method and request.url.path == wanted
        ]


class CommandLine:
    """Runs `spectrain` against the fake server."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        """The exit code; what was written is in `out` and `err`."""
        code = run(arguments)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self) -> Any:
        """Standard output as the one JSON value that it must be."""
        return json.loads(self.out)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeServer:
    fake = FakeServer()
    for module in (session, login):
        monkeypatch.setattr(module, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(fake.handle)))
    monkeypatch.setattr(kept_tokens, "user_config_path", lambda name: tmp_path / "config" / name)
    monkeypatch.delenv("SPECTRAIN_TOKEN", raising=False)
    monkeypatch.delenv("SPECTRAIN_SERVER", raising=False)
    return fake


@pytest.fixture
def spectrain(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def make_job(state: JobState = JobState.QUEUED, **values: Any) -> JobDetailView:
    """Job 5 in a state."""
    return JobDetailView.model_validate(
        {
            "id": 5,
            "kind": "train",
            "name": "kit mel",
            "state": state,
            "dataset": DatasetRef(id=1, name="kit", version=1, clips=12),
            "representation": "mel",
            "attempt": 1,
            "position": 1.0,
            "progress": ProgressView(),
            "queued_at": 0.0,
            **values,
        }
    )


def make_dataset(**values: Any) -> DatasetView:
    """Dataset 1, called kit."""
    return DatasetView.model_validate(
        {
            "id": 1,
            "name": "kit",
            "version": 1,
            "clips": 2,
            "duration_s": 3.0,
            "size_bytes": 1000,
            "sample_rates": [48_000],
            "channels": [1],
            "jobs": 0,
            "created_at": 0.0,
            **values,
        }
    )
