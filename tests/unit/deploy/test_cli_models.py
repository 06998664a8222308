"""The command line and models: they are listed, and downloaded whole, never over something else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.keeping.views import ModelListView, ModelView
from api.views import CheckpointListView, CheckpointView
from deploy.cli.exit_codes import ExitCode
from deploy.cli.text import moment
from tests.unit.deploy.conftest import CommandLine, FakeServer

WEIGHTS = bytes(range(256)) * 4000
CONFIG = b'{"job":5}'
FILES = {"spectrain-job5-1-250.safetensors": WEIGHTS, "spectrain-job5-1-250.json": CONFIG}


def model(job: int, **values: Any) -> ModelView:
    said = {"job": job, "job_name": f"kit {job}", "dataset": 1, "dataset_name": "drums", "representation": "mel_if"}
    more = {"checkpoint": "1-1250", "epoch": 12, "step": 1250, "best": True, "final": True, "pinned": False}
    return ModelView.model_validate({**said, **more, "size_bytes": 1_500_000, "at": 0.0, **values})


def checkpoint(name: str, **values: Any) -> CheckpointView:
    said = {"epoch": 3, "step": 1250, "reason": "interval", "best": False, "newest": False, "size_bytes": 1}
    return CheckpointView.model_validate({"name": name, **said, "seconds": 0.1, "at": 0.0, **values})


def attached(name: str, *pieces: bytes | Exception, length: int | None = None) -> Callable[[httpx.Request], Any]:
    """What the server sends as a file: piece by piece, after it said how long it is."""

    def body() -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    said = sum(len(piece) for piece in pieces if isinstance(piece, bytes)) if length is None else length
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(said)}
    return lambda _request: httpx.Response(200, headers=headers, content=body())


@pytest.fixture
def kept(server: FakeServer) -> FakeServer:
    """With job 5, whose checkpoint 1-250 is its best."""
    server.answers["GET jobs/5/checkpoints"] = CheckpointListView(checkpoints=[checkpoint("1-250", best=True)])
    for what, (name, content) in zip(("weights", "config"), FILES.items(), strict=True):
        server.answers[f"GET jobs/5/checkpoints/1-250/{what}"] = attached(name, content)
    return server


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden or not."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_are_listed(server: FakeServer, spectrain: CommandLine) -> None:
    answer = ModelListView(models=[model(7, val_reconstruction=0.25), model(5, best=False, pinned=True)], next="")
    server.answers["GET models"] = answer
    assert spectrain("model", "ls") == ExitCode.DONE
    _, first, second = spectrain.out.splitlines()
    for told in ("7", "kit 7", "1-1250", "12", "1,250", "best, final", "mel_if", "drums", "0.25", "1.5 MB"):
        assert told in first
    assert first.rstrip().endswith(moment(0.0))
    assert "final, pinned" in second
    assert spectrain("model", "ls", "--json") == ExitCode.DONE
    assert spectrain.json() == answer.model_dump(mode="json")
    server.answers["GET models"] = ModelListView(models=[], next="")
    assert spectrain("model", "ls") == ExitCode.DONE
    assert "spectrain train" in spectrain.out


def test_the_list_goes_on_over_pages_as_far_as_was_asked(server: FakeServer, spectrain: CommandLine) -> None:
    pages = [ModelListView(models=[model(9), model(8)], next="a"), ModelListView(models=[model(7)], next="")]
    server.answers["GET models"] = list(pages)
    assert spectrain("model", "ls", "--json") == ExitCode.DONE
    assert [one["job"] for one in spectrain.json()["models"]] == [9, 8, 7]
    asked = [dict(request.url.params) for request in server.requests]
    assert asked == [{"limit": "100"}, {"limit": "98", "after": "a"}]

    server.answers["GET models"] = list(pages)
    assert spectrain("model", "ls", "--limit", "2") == ExitCode.DONE
    assert "There are more" in spectrain.out
    assert dict(server.requests[-1].url.params) == {"limit": "2"}


@pytest.mark.parametrize("missing", [False, True])
def test_weights_and_configuration_come_as_files(
    kept: FakeServer, spectrain: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    here, folder = tmp_path / "here", tmp_path / ("new/deep" if missing else "here")
    here.mkdir()
    monkeypatch.chdir(here)
    assert spectrain("model", "download", "5", *(["--to", str(folder)] if missing else [])) == ExitCode.DONE
    assert contents(folder) == FILES
    assert "checkpoint 1-250 (best): epoch 3, step 1,250." in spectrain.out
    assert all(f"written: {folder / name if missing else name} (" in spectrain.out for name in FILES)
    assert [request.url.path.rpartition("/")[2] for request in kept.requests] == ["checkpoints", "weights", "config"]


BEST, FINAL, NEWEST, OLD = (
    checkpoint("1-20", best=True),
    checkpoint("1-30", reason="final"),
    checkpoint("2-40", newest=True),
    checkpoint("1-10"),
)


@pytest.mark.parametrize(
    ("known", "said", "wanted", "marks"),
    [
        ([NEWEST, FINAL, BEST, OLD], [], BEST, ["best"]),
        ([NEWEST, FINAL, OLD], [], FINAL, ["final"]),
        ([NEWEST, OLD], [], NEWEST, ["newest"]),
        ([NEWEST, FINAL, BEST, OLD], ["--checkpoint", "1-10"], OLD, []),
    ],
)
def test_it_is_the_best_else_the_final_else_the_newest_or_what_was_named(
    server: FakeServer,
    spectrain: CommandLine,
    tmp_path: Path,
    *,
    known: list[CheckpointView],
    said: list[str],
    wanted: CheckpointView,
    marks: list[str],
) -> None:
    server.answers["GET jobs/5/checkpoints"] = CheckpointListView(checkpoints=known)
    for what in ("weights", "config"):
        server.answers[f"GET jobs/5/checkpoints/{wanted.name}/{what}"] = attached(what, what.encode())
    assert spectrain("model", "download", "5", "--to", str(tmp_path), "--json", *said) == ExitCode.DONE
    told = spectrain.json()
    assert (told["job"], told["checkpoint"], told["marks"]) == (5, wanted.name, marks)
    assert told["files"] == [
        {"path": str(tmp_path / what), "size_bytes": len(what), "written": True} for what in ("weights", "config")
    ]


@pytest.mark.usefixtures("kept")
def test_what_is_there_already_is_left_as_it_is(spectrain: CommandLine, tmp_path: Path) -> None:
    download = ("model", "download", "5", "--to", str(tmp_path))
    weights, config = (tmp_path / name for name in FILES)
    assert spectrain(*download) == ExitCode.DONE
    same = weights.stat().st_ino
    config.unlink()
    assert spectrain(*download, "--json") == ExitCode.DONE
    assert [file["written"] for file in spectrain.json()["files"]] == [False, True]
    assert weights.stat().st_ino == same
    assert contents(tmp_path) == FILES

    weights.unlink()
    config.write_bytes(b"my own")
    assert spectrain(*download) == ExitCode.CONFLICT
    assert spectrain.err == (
        f"Error: {config} is there with other content, and is left as it is: choose another folder with --to.\n"
    )
    assert contents(tmp_path) == {config.name: b"my own"}, "of two files that belong together none comes alone"

    config.unlink()
    config.symlink_to(tmp_path / "away" / "config.json")
    assert spectrain(*download) == ExitCode.CONFLICT
    assert config.is_symlink()


def test_what_is_not_known_is_4_and_makes_no_folder(kept: FakeServer, spectrain: CommandLine, tmp_path: Path) -> None:
    to = ("--to", str(tmp_path / "new"))
    assert spectrain("model", "download", "6", *to) == ExitCode.CONFLICT
    assert "Nothing at /api/v1/jobs/6/checkpoints." in spectrain.err
    assert spectrain("model", "download", "5", "--checkpoint", "../1", *to) == ExitCode.CONFLICT
    assert "Job 5 has no checkpoint '../1' (any more): `spectrain jobs checkpoints 5`" in spectrain.err
    kept.answers["GET jobs/5/checkpoints"] = CheckpointListView(checkpoints=[])
    assert spectrain("model", "download", "5", *to, "--json") == ExitCode.CONFLICT
    assert "has saved nothing yet" in spectrain.json()["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pieces", [[WEIGHTS[:1000], httpx.ReadError("gone")], [WEIGHTS[:1000]]])
def test_a_download_that_breaks_off_leaves_nothing(
    kept: FakeServer, spectrain: CommandLine, tmp_path: Path, pieces: list[bytes | Exception]
) -> None:
    kept.answers["GET jobs/5/checkpoints/1-250/weights"] = attached("a.safetensors", *pieces, length=len(WEIGHTS))
    assert spectrain("model", "download", "5", "--to", str(tmp_path)) == ExitCode.UNREACHABLE
    assert "broke off in the middle of a.safetensors" in spectrain.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sent", "code"), [(WEIGHTS, ExitCode.DONE), (WEIGHTS[::-1], ExitCode.FAILED)])
def test_what_comes_is_compared_with_what_was_saved(
    kept: FakeServer, spectrain: CommandLine, tmp_path: Path, sent: bytes, code: ExitCode
) -> None:
    saved = b64encode(hashlib.sha256(WEIGHTS).digest()).decode()
    answer = attached("a.safetensors", sent)(httpx.Request("GET", "http://any"))
    answer.headers["Repr-Digest"] = f"sha-256=:{saved}:"
    kept.answers["GET jobs/5/checkpoints/1-250/weights"] = lambda _request: answer
    assert spectrain("model", "download", "5", "--to", str(tmp_path)) == code
    assert ("a.safetensors" in contents(tmp_path)) == (code is ExitCode.DONE)
    assert ("is not what was saved" in spectrain.err) == (code is ExitCode.FAILED)


@pytest.mark.parametrize("name", ["", "../evil", "/tmp/evil", ".hidden", "..", "two words"])
def test_a_name_that_leads_elsewhere_is_refused(
    kept: FakeServer, spectrain: CommandLine, tmp_path: Path, name: str
) -> None:
    kept.answers["GET jobs/5/checkpoints/1-250/weights"] = attached(name, WEIGHTS)
    folder = tmp_path / "deep" / "folder"
    assert spectrain("model", "download", "5", "--to", str(folder)) == ExitCode.UNREACHABLE
    assert "not this version of Spectrain" in spectrain.err
    assert contents(tmp_path) == {}


@pytest.mark.usefixtures("kept")
def test_a_folder_that_cannot_be_written_to_is_told(spectrain: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    assert spectrain("model", "download", "5", "--to", str(folder)) == ExitCode.FAILED
    assert f"{folder} cannot be written to" in spectrain.err
    assert "--to" in spectrain.err
