"""Which devices this machine has, found out without torch: its import takes seconds and belongs in the trainer.

`auto` is every CUDA device, else MPS, else the CPU.
"""

from __future__ import annotations

import itertools
import os
import platform
from dataclasses import dataclass
from typing import Final, Literal

import psutil

from shared.errors import ConfigError
from shared.events import DeviceStatus

DeviceKind = Literal["cuda", "mps", "cpu"]
_KINDS: Final[tuple[DeviceKind, ...]] = ("cuda", "mps", "cpu")


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device that a worker can be pinned to."""

    kind: DeviceKind
    index: int = 0
    """Which CUDA device: among those that CUDA_VISIBLE_DEVICES names, else as the system numbers them."""

    @property
    def name(self) -> str:
        """cuda:0, mps or cpu."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind

    def fits(self, wanted: str) -> bool:
        """Whether a job that asks for `wanted` (auto, a kind, or one device) may run here."""
        return wanted in ("auto", self.kind, self.name)


def parse_device(name: str) -> Device:
    """The device called `name`; raises ConfigError for anything but cuda, cuda:N, mps or cpu.

    cuda-0 is cuda:0, for names that allow no colon, such as those of services.
    """
    kind, _, index = name.replace("-", ":", 1).partition(":")
    for known in _KINDS:
        if kind == known and (not index or (known == "cuda" and index.isdecimal())):
            return Device(kind=known, index=int(index or 0))
    raise ConfigError(f"{name!r} is not a device: use cuda:0, mps or cpu.", field="device")


def discover_devices() -> list[Device]:
    """Every CUDA device, else MPS, else the CPU."""
    count = _cuda_count()
    if count:
        return [Device(kind="cuda", index=index) for index in range(count)]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device(kind="mps")]
    return [Device(kind="cpu")]


def device_status(device: Device) -> DeviceStatus:
    """Product name, memory, utilisation and temperature of `device`, as far as the system tells."""
    if device.kind == "cuda":
        return _cuda_status(device)
    memory = psutil.virtual_memory()
    return DeviceStatus(
        name=device.name,
        model=platform.processor() or platform.machine(),
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.total - memory.available,
        utilisation=psutil.cpu_percent() / 100 if device.kind == "cpu" else None,
    )


def check_present(device: Device) -> None:
    """Raise ConfigError where this machine does not have `device`."""
    if device.kind == "cuda":
        _cuda_uuid(device)
    if device.kind == "mps" and platform.system() != "Darwin":
        raise ConfigError("This machine has no mps: that is Apple's. Use cuda:0 or cpu.", field="device")


def pinned_environment(device: Device) -> dict[str, str]:
    """Variables that make `device` the only one a trainer sees; they must be set before torch is imported."""
    if device.kind == "cuda":
        return {"CUDA_VISIBLE_DEVICES": _cuda_uuid(device), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {"CUDA_VISIBLE_DEVICES": ""}


def torch_name(device: Device) -> str:
    """What torch calls `device` in a process whose environment is `pinned_environment(device)`."""
    return "cuda:0" if device.kind == "cuda" else device.kind


def memory_by_process(device: Device) -> dict[int, int] | None:
    """Bytes of a CUDA device that each process holds; None where the driver does not tell."""
    import pynvml  # noqa: PLC0415

    try:
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(_cuda_handle(device))
    except (pynvml.NVMLError, ConfigError):
        return None
    used = {int(process.pid): process.usedGpuMemory for process in running}
    return None if None in used.values() else {pid: int(size or 0) for pid, size in used.items()}


def _visible() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names: indices, or UUIDs of GPUs and of their MIG parts; None where it is unset."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return None
    entries = [entry.strip() for entry in named.split(",")]
    # CUDA ignores everything from the first entry on that names nothing.
    return list(itertools.takewhile(lambda entry: entry.isdecimal() or entry.startswith(("GPU-", "MIG-")), entries))


def _cuda_count() -> int:
    import pynvml  # noqa: PLC0415 - loads the driver's library, where there is one

    visible = _visible()
    if visible == []:
        return 0
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount() if visible is None else len(visible)
    except pynvml.NVMLError:
        return 0


def _cuda_handle(device: Device) -> object:
    import pynvml  # noqa: PLC0415

    pynvml.nvmlInit()
    visible = _visible()
    if visible is None:
        return pynvml.nvmlDeviceGetHandleByIndex(device.index)
    if device.index >= len(visible):
        raise ConfigError(
            f"This machine has no {device.name}: CUDA_VISIBLE_DEVICES names {len(visible)} devices.", field="device"
        )
    name = visible[device.index]
    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID(name)


def _cuda_uuid(device: Device) -> str:
    import pynvml  # noqa: PLC0415

    try:
        uuid = pynvml.nvmlDeviceGetUUID(_cuda_handle(device))
    except pynvml.NVMLError as error:
        raise ConfigError(f"This machine has no {device.name}: the driver says {error}.", field="device") from error
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _cuda_status(device: Device) -> DeviceStatus:
    import pynvml  # noqa: PLC0415

    try:
        handle = _cuda_handle(device)
        name = pynvml.nvmlDeviceGetName(handle)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceStatus(
            name=device.name,
            model=name.decode() if isinstance(name, bytes) else str(name),
            memory_total_bytes=int(memory.total),
            memory_used_bytes=int(memory.used),
            utilisation=float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100,
            temperature_c=float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        )
    except (pynvml.NVMLError, ConfigError):
        return DeviceStatus(name=device.name)  # the driver does not tell (any more); the page says "not reported"
