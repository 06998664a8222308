"""Models from outside: those that fit can be started from; hostile ones are refused, and nothing in them is run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from deploy.cli import run
from deploy.cli.exit_codes import ExitCode
from tests.integration.hostile_models import OTHERS, TRAPS, Maker, forgeries
from tests.sounds import write_sounds
from tests.system import ROOT, SMALL, System

pytestmark = pytest.mark.security

QUICK: dict[str, Any] = {**SMALL, "expansion": 2}
TRUSTING = """
import pickle, sys, torch
for path in sys.argv[1:]:
    for read in (lambda: torch.load(path, weights_only=False), lambda: pickle.load(open(path, "rb"))):
        try:
            read()
        except BaseException:
            pass
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("import")
    with System(folder / "data", redis_url) as system:
        system.start_api()
        system.start_worker()
        system.add_dataset("kicks", write_sounds(folder / "kicks", 6))
        yield system


@pytest.fixture(scope="module")
def weights(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person downloads of a training."""
    job_id = system.train("kicks", **QUICK, epochs=1)
    name = system.wait_job(job_id, "completed")["last_checkpoint"]
    path = tmp_path_factory.mktemp("weights") / "good.safetensors"
    path.write_bytes(system.http.get(f"/jobs/{job_id}/checkpoints/{name}/weights").content)
    return path


def imported(system: System, path: Path, *more: str) -> int:
    """The exit code of `spectrain model import`."""
    return run(["--server", system.url, "model", "import", str(path), *more])


def known(system: System) -> tuple[int, int]:
    """How many jobs and models there are."""
    return len(system.get("/jobs")["jobs"]), len(system.get("/models")["models"])


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_a_model_that_fits_is_one_to_start_from(system: System, weights: Path, tmp_path: Path, kind: str) -> None:
    path = weights
    if kind == "torch":
        path, description = tmp_path / "mine.pt", tmp_path / "description.json"
        torch.save({"state_dict": load_file(weights)}, path)
        assert imported(system, path) == ExitCode.WRONG_INPUT, "it does not say which model it is"
        with safe_open(weights, "pt") as file:
            description.write_text(file.metadata()["spectrain"])
        assert imported(system, path, "--description", str(description), "--name", "mine") == ExitCode.DONE
    else:
        assert imported(system, path) == ExitCode.DONE
    model = system.get("/models")["models"][0]
    assert (model["job_name"], model["checkpoint"], model["best"]) == (path.stem, "1-0", True)
    job = system.get(f"/jobs/{model['job']}")
    assert (job["state"], job["reason"]) == ("completed", "It was imported: start a training from it.")
    assert "imported" in system.get(f"/jobs/{job['id']}/resume?epochs=500")["reason"]

    body = {"kind": "train", "dataset": "kicks", "changes": {"epochs": 1, "batch_size": 4}, "start": {"job": job["id"]}}
    begun = system.post("/jobs", body)
    system.watch(begun["id"])
    assert begun["start"]["job_id"] == job["id"]
    assert begun["train"]["latent_dim"] == QUICK["latent_dim"]
    system.wait_job(begun["id"], "completed")
    assert system.http.delete(f"/jobs/{job['id']}").is_success


def test_the_traps_do_work_on_whoever_trusts_them(tmp_path: Path) -> None:
    """Else it would prove nothing that they do not work here."""
    files: list[str] = []
    for make in TRAPS:
        make(tmp_path / f"{make.__name__}.pt", tmp_path / f"{make.__name__}.mark")
        files.append(str(tmp_path / f"{make.__name__}.pt"))
    subprocess.run([sys.executable, "-c", TRUSTING, *files], cwd=ROOT, capture_output=True, check=False)
    assert [make.__name__ for make in TRAPS if not (tmp_path / f"{make.__name__}.mark").exists()] == []


@pytest.mark.parametrize("make", [*TRAPS, *OTHERS], ids=lambda make: make.__name__)
def test_a_hostile_file_is_refused_and_nothing_of_it_is_run(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Maker
) -> None:
    path, mark, before = tmp_path / "model.pt", tmp_path / "mark", known(system)
    make(path, mark)
    assert imported(system, path) == ExitCode.WRONG_INPUT
    assert "is refused" in capsys.readouterr().err
    assert not mark.exists()
    assert known(system) == before


def test_forged_safetensors_are_refused_with_the_reason(
    system: System, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, path = known(system), tmp_path / "model.safetensors"
    for wrong, content in forgeries(weights.read_bytes()).items():
        answer = system.http.post("/models/import", params={"name": "forged"}, content=content)
        assert answer.status_code == 422, (wrong, answer.text)
        assert answer.json()["error"].startswith("This file cannot be imported: "), wrong
        path.write_bytes(content)
        assert imported(system, path) == ExitCode.WRONG_INPUT, wrong
        assert capsys.readouterr().err
    assert known(system) == before
    assert list((system.data / "uploads").glob("upload-*")) == []
