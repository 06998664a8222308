"""The HTTP API as the command line uses it: one request function, one method per route, answers as views or files."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ValidationError
from werkzeug.http import parse_options_header

from api.access.views import NewTokenView, SessionView, TokenListView, TokenView
from api.datasets.views import DatasetDetailView, DatasetListView, DatasetView, UploadView
from api.keeping.views import (
    CollectedView,
    DatasetDeletionView,
    DeletedView,
    GarbageView,
    JobDeletionView,
    ModelListView,
)
from api.notify.views import DeliveryView, NewTargetView, TargetListView, TargetRequest
from api.views import (
    BatchView,
    BulkView,
    CheckpointListView,
    CheckView,
    ErrorView,
    EventListView,
    JobDetailView,
    JobListView,
    JoinRequest,
    JoinView,
    QueueView,
    ReleaseView,
    ResumeSummaryView,
    WorkerListView,
    WorkerView,
)
from deploy.cli.exit_codes import ExitCode
from shared.addresses import is_loopback
from shared.errors import DamagedError, SpectrainError
from shared.jobs import PreprocessRequest, ResumeRequest, TrainRequest

_JOIN_TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0)
"""Joining is soon done; and Ctrl-C counts only between two requests."""
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a downloaded file may be called, whatever the server says: no path, and nothing hidden."""

View = TypeVar("View", bound=BaseModel)


class ApiError(SpectrainError):
    """The server refused: its sentence, the field that it names, its status."""

    def __init__(self, message: str, *, field: str, status: int) -> None:
        super().__init__(message)
        self.field = field
        self.status = status

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that fits the status."""
        if self.status in (404, 409):
            return ExitCode.CONFLICT
        return ExitCode.WRONG_INPUT if 400 <= self.status < 500 else ExitCode.FAILED


class UnreachableError(SpectrainError):
    """Nothing that is Spectrain answers."""

    exit_code = ExitCode.UNREACHABLE


class ApiClient:
    """The server at `server`. Every method raises ApiError where it refuses, UnreachableError where it is away."""

    def __init__(self, server: str, *, token: str = "", transport: httpx.BaseTransport | None = None) -> None:
        """`token` is what a worker shows, and people where the server asks for it."""
        self.server = server.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{self.server}/api/v1/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            # A server may take long over an upload: it looks into every file before it answers.
            timeout=httpx.Timeout(60.0, connect=5.0, read=600.0),
            trust_env=not is_loopback(urlsplit(self.server).hostname or ""),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def datasets(self) -> DatasetListView:
        """All datasets."""
        return self._request(DatasetListView, "GET", "datasets")

    def dataset(self, name: str) -> DatasetDetailView:
        """One dataset with its files."""
        return self._request(DatasetDetailView, "GET", f"datasets/{quote(name, safe='')}")

    def make_dataset(self, name: str) -> DatasetView:
        """A new, empty dataset."""
        return self._request(DatasetView, "POST", "datasets", json={"name": name})

    def upload(self, dataset: str, files: Sequence[tuple[str, Path]]) -> UploadView:
        """Add files, each under the relative name given with it; raises OSError for one that cannot be read."""
        with ExitStack() as stack:
            parts = [
                ("files", (name, stack.enter_context(path.open("rb")), "application/octet-stream"))
                for name, path in files
            ]
            return self._request(UploadView, "POST", f"datasets/{quote(dataset, safe='')}/files", files=parts)

    def jobs(self, query: Mapping[str, str | int]) -> JobListView:
        """Jobs that match `query`: state, kind, dataset, q, limit."""
        return self._request(JobListView, "GET", "jobs", params=dict(query))

    def job(self, job_id: int) -> JobDetailView:
        """One job."""
        return self._request(JobDetailView, "GET", f"jobs/{job_id}")

    def check(self, request: PreprocessRequest | TrainRequest) -> CheckView:
        """What `request` would come to."""
        return self._request(CheckView, "POST", "jobs/check", json=_said(request))

    def submit(self, request: PreprocessRequest | TrainRequest) -> JobDetailView:
        """A new job."""
        return self._request(JobDetailView, "POST", "jobs", json=_said(request))

    def submit_batch(self, requests: Sequence[PreprocessRequest | TrainRequest]) -> BatchView:
        """New jobs: all of them, or none."""
        body = {"jobs": [_said(request) for request in requests]}
        return self._request(BatchView, "POST", "jobs/batch", json=body)

    def sweep(
        self, request: TrainRequest, *, datasets: Sequence[str], vary: Mapping[str, Sequence[object]]
    ) -> BatchView:
        """New jobs: one for every combination."""
        body = {"job": _said(request), "datasets": list(datasets), "vary": dict(vary)}
        return self._request(BatchView, "POST", "jobs/sweep", json=body)

    def act(self, job_id: int, action: str, body: Mapping[str, Any] | None = None) -> JobDetailView:
        """Do `action` to a job: cancel, pause, hold, edit …"""
        return self._request(JobDetailView, "POST", f"jobs/{job_id}/{action}", json=dict(body or {}))

    def bulk(self, action: str, job_ids: Sequence[int]) -> BulkView:
        """Do `action` to several jobs."""
        return self._request(BulkView, "POST", "jobs/bulk", json={"action": action, "jobs": list(job_ids)})

    def queue(self) -> QueueView:
        """The queue as a whole."""
        return self._request(QueueView, "GET", "queue")

    def set_queue(self, action: Literal["pause", "resume"]) -> QueueView:
        """Pause the queue, or let it go on."""
        return self._request(QueueView, "POST", f"queue/{action}")

    def resume_summary(self, job_id: int, request: ResumeRequest) -> ResumeSummaryView:
        """Where a resume would go on."""
        params = request.model_dump(mode="json", exclude_none=True)
        return self._request(ResumeSummaryView, "GET", f"jobs/{job_id}/resume", params=params)

    def resume(self, job_id: int, request: ResumeRequest) -> JobDetailView:
        """Go on with a job."""
        body = request.model_dump(mode="json", exclude_none=True)
        return self._request(JobDetailView, "POST", f"jobs/{job_id}/resume", json=body)

    def checkpoints(self, job_id: int) -> CheckpointListView:
        """The checkpoints of a job."""
        return self._request(CheckpointListView, "GET", f"jobs/{job_id}/checkpoints")

    def set_pin(self, job_id: int, checkpoint: str, *, pinned: bool) -> CheckpointListView:
        """Pin or unpin a checkpoint; returns all of the job."""
        address = f"{_checkpoint(job_id, checkpoint)}/{'pin' if pinned else 'unpin'}"
        return self._request(CheckpointListView, "POST", address)

    def deletion(self, job_id: int) -> JobDeletionView:
        """What would go with a job."""
        return self._request(JobDeletionView, "GET", f"jobs/{job_id}/deletion")

    def delete_job(self, job_id: int) -> DeletedView:
        """Delete a job that has ended."""
        return self._request(DeletedView, "DELETE", f"jobs/{job_id}")

    def dataset_deletion(self, name: str) -> DatasetDeletionView:
        """What would go with a dataset."""
        return self._request(DatasetDeletionView, "GET", f"datasets/{quote(name, safe='')}/deletion")

    def delete_dataset(self, name: str) -> DeletedView:
        """Delete a dataset that no job uses."""
        return self._request(DeletedView, "DELETE", f"datasets/{quote(name, safe='')}")

    def targets(self) -> TargetListView:
        """Who is told what becomes of jobs."""
        return self._request(TargetListView, "GET", "notifications")

    def add_target(self, request: TargetRequest) -> NewTargetView:
        """Have somebody told."""
        return self._request(NewTargetView, "POST", "notifications", json=request.model_dump(mode="json"))

    def remove_target(self, target_id: int) -> TargetListView:
        """Tell a target nothing more; returns those that are left."""
        return self._request(TargetListView, "DELETE", f"notifications/{target_id}")

    def try_target(self, target_id: int) -> DeliveryView:
        """Send a target something now."""
        return self._request(DeliveryView, "POST", f"notifications/{target_id}/test")

    def import_model(self, name: str, weights: Path) -> JobDetailView:
        """The job that the model in a safetensors file becomes."""
        with weights.open("rb") as file:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(weights.stat().st_size)}
            return self._request(
                JobDetailView, "POST", "models/import", params={"name": name}, content=file, headers=headers
            )

    def models(self, query: Mapping[str, str | int]) -> ModelListView:
        """Models that match `query`: after, limit."""
        return self._request(ModelListView, "GET", "models", params=dict(query))

    def weights(self, job_id: int, checkpoint: str, folder: Path) -> Path:
        """The weights of a checkpoint, as a new file in `folder`; raises OSError where it cannot be written."""
        return self._download(f"{_checkpoint(job_id, checkpoint)}/weights", folder)

    def model_config(self, job_id: int, checkpoint: str, folder: Path) -> Path:
        """The configuration of a checkpoint, likewise."""
        return self._download(f"{_checkpoint(job_id, checkpoint)}/config", folder)

    def garbage(self, *, fresh_s: float) -> GarbageView:
        """What nobody needs."""
        return self._request(GarbageView, "GET", "disk/garbage", params={"fresh_s": fresh_s})

    def collect_garbage(self, *, fresh_s: float) -> CollectedView:
        """Remove what nobody needs."""
        return self._request(CollectedView, "POST", "disk/garbage/collect", json={"fresh_s": fresh_s})

    def events(self, job_id: int, *, after: int, types: Sequence[str], limit: int = 1000) -> EventListView:
        """Events of a job with numbers above `after`."""
        params = {"after": after, "limit": limit, "types": ",".join(types)}
        return self._request(EventListView, "GET", f"jobs/{job_id}/events", params=params)

    def workers(self) -> WorkerListView:
        """All workers that are known."""
        return self._request(WorkerListView, "GET", "workers")

    def change_worker(self, action: str, worker: str, **values: object) -> WorkerView:
        """Do `action` (drain, resume, labels) to a worker; its name stands in the body because it has slashes."""
        return self._request(WorkerView, "POST", f"workers/{action}", json={"worker": worker, **values})

    def remove_worker(self, worker: str) -> WorkerListView:
        """Forget a worker; returns those that are left."""
        return self._request(WorkerListView, "POST", "workers/remove", json={"worker": worker})

    def session(self) -> SessionView:
        """Who this client is to the server."""
        return self._request(SessionView, "GET", "session")

    def make_token(self, *, role: str, name: str, days: float | None) -> NewTokenView:
        """A new token."""
        return self._request(NewTokenView, "POST", "tokens", json={"role": role, "name": name, "days": days})

    def tokens(self) -> TokenListView:
        """All tokens, without their secrets."""
        return self._request(TokenListView, "GET", "tokens")

    def revoke_token(self, token_id: int) -> TokenView:
        """Make a token worthless."""
        return self._request(TokenView, "POST", f"tokens/{token_id}/revoke")

    def join(self, request: JoinRequest) -> JoinView:
        """What this machine's workers need; the client needs a token."""
        return self._request(JoinView, "POST", "join", json=request.model_dump(mode="json"), timeout=_JOIN_TIMEOUT)

    def release(self) -> ReleaseView:
        """What the server runs; the client needs a token."""
        return self._request(ReleaseView, "GET", "join/wheel")

    def _request(self, view: type[View], method: str, path: str, **values: Any) -> View:
        response = self._send(method, path, **values)
        try:
            return view.model_validate_json(response.content)
        except ValidationError as error:
            raise self._not_ours(response, path) from error

    def _download(self, path: str, folder: Path) -> Path:
        """A new file in `folder` with the name that the server gives it."""
        with closing(self._send("GET", path, stream=True)) as response:
            _, said = parse_options_header(response.headers.get("Content-Disposition"))
            name = said.get("filename", "")
            if not _FILE_NAME.fullmatch(name):
                raise self._not_ours(response, path)
            broken = UnreachableError(f"{self.server} broke off in the middle of {name}: download it again.")
            digest = hashlib.sha256()
            try:
                with (folder / name).open("xb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
                        digest.update(piece)
                    file.flush()
                    os.fsync(file.fileno())
            except httpx.RequestError as error:
                raise broken from error
            received = str(response.num_bytes_downloaded)
            if response.headers.get("Content-Length", received) != received:
                raise broken
            saved = f"sha-256=:{b64encode(digest.digest()).decode()}:"
            if response.headers.get("Repr-Digest", saved) != saved:
                raise DamagedError(
                    f"{name} is not what was saved: download it again. If that does not help, it is damaged on the"
                    " server, so choose another one with --checkpoint."
                )
        return folder / name

    def _send(self, method: str, path: str, *, stream: bool = False, **values: Any) -> httpx.Response:
        """An answer that is no refusal; with `stream` its body has yet to come, and it is to be closed."""
        try:
            response = self._client.send(self._client.build_request(method, path, **values), stream=stream)
            if not response.is_success:
                response.read()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(
                f"No server answers at {self.server} ({error}): start one with `spectrain up`, or name another with "
                "--server or SPECTRAIN_SERVER."
            ) from error
        if response.is_success:
            return response
        try:
            problem = ErrorView.model_validate_json(response.content)
        except ValidationError as error:
            raise self._not_ours(response, path) from error
        if response.status_code == 401 and "Authorization" not in self._client.headers:
            raise ApiError(
                f"This server wants to know who you are: `spectrain login {self.server}`, or set SPECTRAIN_TOKEN.",
                field="",
                status=401,
            )
        # What the request calls `changes.epochs` a person knows as `epochs`.
        raise ApiError(
            problem.error.removeprefix("job.").replace("changes.", ""),
            field=problem.field.removeprefix("job.").removeprefix("changes."),
            status=response.status_code,
        )

    def _not_ours(self, response: httpx.Response, path: str) -> UnreachableError:
        return UnreachableError(
            f"What answers at {self.server} is not this version of Spectrain (HTTP {response.status_code} for "
            f"{path}): look at --server, and at the versions on both sides."
        )


def _checkpoint(job_id: int, name: str) -> str:
    """Where a checkpoint's own addresses begin."""
    return f"jobs/{job_id}/checkpoints/{quote(name, safe='')}"


def _said(request: PreprocessRequest | TrainRequest) -> dict[str, Any]:
    """What the person said, without defaults: the server knows what a training follows that they do not decide."""
    return {"kind": request.kind, **request.model_dump(mode="json", exclude_unset=True)}
