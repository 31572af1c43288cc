"""NVML in memory: GPUs whose state a test sets, behind the functions of `pynvml` that are used."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest


class NvmlError(Exception):
    """What a driver answers that cannot or will not."""


@dataclass
class Gpu:
    """One GPU's state."""

    index: int
    name: str = "NVIDIA A100-SXM4-40GB"
    total_bytes: int = 42_505_273_344
    used_bytes: int = 500_000_000
    power_w: float | None = 60.0
    throttle: int = 0
    pids: list[int] = field(default_factory=list)
    ecc: int = 0

    @property
    def uuid(self) -> str:
        return f"GPU-{self.index}"


@dataclass
class Twin:
    """A host's GPUs, and XID errors that were not yet asked for."""

    gpus: list[Gpu]
    xids: list[tuple[int, int]] = field(default_factory=list)
    """GPU and number of each."""

    def wait(self, _: object, timeout_ms: int) -> SimpleNamespace:
        assert timeout_ms == 0, "sampling must not wait"
        if not self.xids:
            raise NvmlError("timeout")
        index, xid = self.xids.pop(0)
        return SimpleNamespace(device=self.gpus[index], eventData=xid)


def power_mw(gpu: Gpu) -> int:
    if gpu.power_w is None:
        raise NvmlError("not supported")
    return int(gpu.power_w * 1000)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Twin:
    """Put two GPUs in memory in place of `pynvml`."""
    twin = Twin([Gpu(0), Gpu(1)])
    functions: dict[str, Callable[..., object]] = {
        "Init": lambda: None,
        "Shutdown": lambda: None,
        "DeviceGetCount": lambda: len(twin.gpus),
        "DeviceGetHandleByIndex": lambda index: twin.gpus[index],
        "DeviceGetHandleByUUID": lambda uuid: next(g for g in twin.gpus if g.uuid == uuid),
        "DeviceGetIndex": lambda gpu: gpu.index,
        "DeviceGetUUID": lambda gpu: gpu.uuid,
        "DeviceGetName": lambda gpu: gpu.name,
        "DeviceGetMemoryInfo": lambda gpu: SimpleNamespace(
            total=gpu.total_bytes, used=gpu.used_bytes
        ),
        "DeviceGetPowerUsage": power_mw,
        "DeviceGetClockInfo": lambda gpu, kind: 1000 + kind,
        "DeviceGetTemperature": lambda gpu, _: 40,
        "DeviceGetCurrentClocksThrottleReasons": lambda gpu: gpu.throttle,
        "DeviceGetTotalEccErrors": lambda gpu, *_: gpu.ecc,
        "DeviceGetComputeRunningProcesses": lambda gpu: [
            SimpleNamespace(pid=pid) for pid in gpu.pids
        ],
        "EventSetCreate": lambda: "events",
        "DeviceRegisterEvents": lambda *_: None,
        "EventSetWait_v2": twin.wait,
    }
    module = ModuleType("pynvml")
    for name, function in functions.items():
        setattr(module, f"nvml{name}", function)
    constants = {
        "NVMLError": NvmlError, "NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0,
        "NVML_MEMORY_ERROR_TYPE_UNCORRECTED": 1, "NVML_VOLATILE_ECC": 0,
        "nvmlEventTypeXidCriticalError": 8,
    }  # fmt: skip
    for name, value in constants.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return twin
