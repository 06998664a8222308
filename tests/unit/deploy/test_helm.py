"""The Helm chart, rendered: manifests that fit together, run as nobody in particular, and set what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from api.app import openapi_document
from deploy.stopping import longest_stop_s
from shared.version import VERSION
from tests.helm import ChartError, render
from tests.unit.deploy.starting import SETTINGS, assert_it_starts

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "spectrain"
TEMPLATES = sorted((CHART / "templates").glob("*.yaml"))
CUDA = {"name": "cuda", "device": "cuda:0", "replicas": 2, "image": "x:cuda", "resources": {}}
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "k3y"}
YOURS = {"Secret": {"mine", "regcred", "other"}}
"""What a cluster has beside the chart."""

Manifest = dict[str, Any]


def values(**changes: Any) -> dict[str, Any]:
    """Those of values.yaml with a password, and with `changes` (a__b for b in a)."""
    found = yaml.safe_load((CHART / "values.yaml").read_text())
    found["redis"]["password"] = "s3cret"
    for name, value in changes.items():
        *path, last = name.split("__")
        place = found
        for part in path:
            place = place[part]
        place[last] = value
    return found


def rendered(**changes: Any) -> list[Manifest]:
    root = {"Values": values(**changes), "Release": {"Name": "lab", "Namespace": "sound"}}
    return [
        manifest
        for template in TEMPLATES
        for manifest in yaml.safe_load_all(render(template.read_text(), root))
        if manifest
    ]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Each workload with its pod."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        yield manifest, manifest["spec"]["template"]


VARIANTS: list[dict[str, Any]] = [
    {},
    {"workers": [CUDA], "storage": "s3://bucket/sounds", "secrets": KEYS, "image__pullSecrets": ["regcred", "other"]},
    {"redis__enabled": False, "existingSecret": "mine", "persistence__storageClass": "fast"},
    {"existingSecret": "mine"},
]


@pytest.fixture(params=VARIANTS, ids=["as it comes", "cuda and s3", "a Redis elsewhere", "a secret of yours"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(**request.param)


def test_each_thing_is_there_once(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    assert ("Deployment", "lab-api") in names
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for _, name in names)


def test_selectors_find_their_pods(manifests: list[Manifest]) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    for workload, pod in pods(manifests):
        assert workload["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    for service in of_kind(manifests, "Service"):
        assert [each for each in labels if service["spec"]["selector"].items() <= each.items()]
    assert len({tuple(sorted(each.items())) for each in labels}) == len(labels)


def test_what_a_pod_refers_to_is_there(manifests: list[Manifest]) -> None:
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    there |= {(kind, name) for kind, names in YOURS.items() for name in names}
    keys = {secret["metadata"]["name"]: secret["stringData"].keys() for secret in of_kind(manifests, "Secret")}
    for workload, pod in pods(manifests):
        [container] = pod["spec"]["containers"]
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"]: claim for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
        for source in container.get("envFrom", []):
            [(kind, reference)] = source.items()
            assert ({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]) in there
        for variable in container.get("env", []):
            [(kind, reference)] = variable["valueFrom"].items()
            assert kind == "fieldRef" or reference["key"] in keys[reference["name"]]
        for reference in pod["spec"]["imagePullSecrets"]:
            assert ("Secret", reference["name"]) in there


def test_nothing_runs_as_root_or_may_more_than_it_needs(manifests: list[Manifest]) -> None:
    for _, pod in pods(manifests):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False, "it would set SPECTRAIN_… to addresses of services"
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_settings_are_ours(manifests: list[Manifest]) -> None:
    [config] = of_kind(manifests, "ConfigMap")
    assert config["data"].keys() <= SETTINGS
    assert all(isinstance(value, str) for value in config["data"].values())
    for secret in of_kind(manifests, "Secret"):
        assert secret["stringData"].keys() <= SETTINGS | KEYS.keys() | {"REDIS_PASSWORD"}


def test_what_nobody_may_read_is_in_a_secret() -> None:
    manifests = rendered(secrets=KEYS)
    [secret] = of_kind(manifests, "Secret")
    assert secret["stringData"].items() >= KEYS.items()
    for word in ("k3y", "s3cret"):
        assert [manifest["kind"] for manifest in manifests if word in str(manifest)] == ["Secret"]
    for workload, pod in pods(manifests):
        if "redis" not in workload["metadata"]["name"]:
            assert {"secretRef": {"name": "lab-access"}} in pod["spec"]["containers"][0]["envFrom"]


def test_a_secret_of_yours_counts_for_more() -> None:
    for workload, pod in pods(rendered(existingSecret="mine")):
        if "redis" not in workload["metadata"]["name"]:
            assert pod["spec"]["containers"][0]["envFrom"][-1] == {"secretRef": {"name": "mine"}}


def test_names_of_pull_secrets_are_what_kubernetes_wants() -> None:
    found = [pod["spec"]["imagePullSecrets"] for _, pod in pods(rendered(image__pullSecrets=["regcred", "other"]))]
    assert found == [[{"name": "regcred"}, {"name": "other"}]] * 3
    assert [pod["spec"]["imagePullSecrets"] for _, pod in pods(rendered())] == [[]] * 3


def test_any_password_opens_redis() -> None:
    password = 'a/b+c d@e:f#g%20?"ü'
    [secret] = of_kind(rendered(redis__password=password), "Secret")
    assert secret["stringData"]["REDIS_PASSWORD"] == password
    with Redis.from_url(secret["stringData"]["REDIS_URL"]) as redis:
        options = redis.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["password"]) == ("lab-redis", 6379, password)


def test_probes_ask_what_the_api_answers(manifests: list[Manifest]) -> None:
    [api] = [pod for workload, pod in pods(manifests) if workload["metadata"]["name"] == "lab-api"]
    container = api["spec"]["containers"][0]
    routes = openapi_document()["paths"]
    asked = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"/healthz", "/readyz"}
    assert asked | {"/metrics"} <= routes.keys()
    # Redis that is away is no reason to start the api anew.
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_there_is_one_api_and_never_two(manifests: list[Manifest]) -> None:
    [api] = of_kind(manifests, "Deployment")
    assert api["spec"]["replicas"] == 1
    assert api["spec"]["strategy"] == {"type": "Recreate"}


def test_workers_start_and_have_time_to_save(manifests: list[Manifest]) -> None:
    workers = [pod for workload, pod in pods(manifests) if "-worker-" in workload["metadata"]["name"]]
    assert workers
    for pod in workers:
        assert_it_starts(pod["spec"]["containers"][0]["args"])
        assert pod["spec"]["terminationGracePeriodSeconds"] > longest_stop_s()


def test_with_a_store_in_s3_workers_share_no_volume() -> None:
    manifests = rendered(workers=[CUDA], storage="s3://bucket/sounds")
    [worker] = [pod for workload, pod in pods(manifests) if "-worker-" in workload["metadata"]["name"]]
    assert {"name": "data", "emptyDir": {}} in worker["spec"]["volumes"]
    assert worker["spec"]["containers"][0]["image"] == "x:cuda"


def test_without_a_password_there_is_nothing() -> None:
    with pytest.raises(ChartError, match="long random text"):
        rendered(redis__password="")
    with pytest.raises(ChartError, match="a secret with REDIS_URL"):
        rendered(redis__enabled=False)


def test_every_value_is_used_and_every_used_one_is_there() -> None:
    text = "".join(path.read_text() for path in [*TEMPLATES, CHART / "templates" / "NOTES.txt"])
    used = set(re.findall(r"\.Values((?:\.\w+)+)", text))
    there: set[str] = set()

    def walk(place: object, path: str) -> None:
        there.add(path)
        if isinstance(place, dict) and path not in (".settings", ".secrets", ".api.resources"):
            for name, value in place.items():
                walk(value, f"{path}.{name}")

    walk(values(), "")
    leaves = {path for path in there if not any(other.startswith(f"{path}.") for other in there)}
    assert leaves == used
    worker = set(re.findall(r"\$worker\.(\w+)", text))
    assert {name for each in values()["workers"] for name in each} == worker


def test_its_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION


def test_helm_finds_nothing_wrong() -> None:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("Helm is not installed.")
    done = subprocess.run(
        [helm, "lint", "--strict", "--set", "redis.password=x", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
