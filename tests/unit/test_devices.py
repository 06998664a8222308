"""Which devices a worker is pinned to, with a stand-in for NVIDIA's driver library."""

from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest

from shared.devices import Device, discover_devices, parse_device, pinned_environment
from shared.errors import ConfigError

GPUS = ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]


@pytest.fixture(autouse=True)
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    same: Callable[[str], str] = lambda name: name  # noqa: E731
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(GPUS))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: GPUS[index])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", same)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", same)


@pytest.mark.parametrize(
    ("visible", "pinned"),
    [
        (None, GPUS),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-bbbb", ["GPU-bbbb"]),
        ("MIG-1111, MIG-2222", ["MIG-1111", "MIG-2222"]),
        ("1,-1,2", ["GPU-bbbb"]),
    ],
)
def test_workers_are_pinned_within_what_may_be_seen(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, pinned: list[str]
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = discover_devices()
    assert [device.name for device in devices] == [f"cuda:{index}" for index in range(len(pinned))]
    assert [pinned_environment(device)["CUDA_VISIBLE_DEVICES"] for device in devices] == pinned
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "0")
    with pytest.raises(ConfigError, match="no cuda:9"):
        pinned_environment(Device(kind="cuda", index=9))


def test_where_nothing_may_be_seen_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert all(device.kind != "cuda" for device in discover_devices())


@pytest.mark.parametrize(("name", "device"), [("cuda-1", "cuda:1"), ("cuda:1", "cuda:1"), ("cuda", "cuda:0")])
def test_a_service_may_say_a_dash_for_the_colon(name: str, device: str) -> None:
    assert parse_device(name).name == device


@pytest.mark.parametrize("name", ["cpu-0", "cuda--1", "cuda-x", "-", "cuda:0-1"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a device"):
        parse_device(name)
