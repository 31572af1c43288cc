"""NVML in memory: GPUs whose state a test sets, behind the functions of `pynvml` that are used."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest


class NvmlError(Exception):
    """What a driver answers that cannot or will not."""


class NVMLError_NotSupported(NvmlError):
    value = 3


class NVMLError_NoPermission(NvmlError):
    value = 4


@dataclass
class FakeGpu:
    """One GPU's state."""

    index: int
    name: str = "NVIDIA A100-SXM4-40GB"
    total_bytes: int = 42_505_273_344
    used_bytes: int = 500_000_000
    power_w: float | None = 60.0
    throttle: int = 0
    pids: list[int] = field(default_factory=list)
    ecc: int = 0
    mig: bool | None = None
    """Whether it is in MIG mode; None for a part that knows no such mode."""
    instances: list["FakeGpu"] = field(default_factory=list)
    named: str = ""
    refuses: dict[str, Exception] = field(default_factory=dict)
    """What a function answers for this GPU, by its name."""

    @property
    def uuid(self) -> str:
        return self.named or f"GPU-{self.index}"


@dataclass
class Twin:
    """A host's GPUs, and XID errors that were not yet asked for."""

    gpus: list[FakeGpu]
    xids: list[tuple[int, int]] = field(default_factory=list)
    """GPU and number of each."""
    refuses: dict[str, Exception] = field(default_factory=dict)
    """What a function answers for the host."""

    def by_uuid(self, uuid: str) -> FakeGpu:
        for gpu in self.gpus:
            for each in (gpu, *gpu.instances):
                if each.uuid == uuid:
                    return each
        raise NvmlError("Not Found")

    def by_index(self, index: int) -> FakeGpu:
        gpu = self.gpus[index]
        if error := gpu.refuses.get("DeviceGetHandleByIndex"):
            raise error
        return gpu

    def answering(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        """Wrap a function of NVML's so that it refuses where a test says so."""

        def call(*arguments: object) -> object:
            of = arguments[0] if arguments and isinstance(arguments[0], FakeGpu) else self
            if error := of.refuses.get(name):
                raise error
            return function(*arguments)

        return call

    def wait(self, _: object, timeout_ms: int) -> SimpleNamespace:
        assert timeout_ms == 0, "sampling must not wait"
        if not self.xids:
            raise NvmlError("timeout")
        index, xid = self.xids.pop(0)
        return SimpleNamespace(device=self.gpus[index], eventData=xid)


def mig_mode(gpu: FakeGpu) -> list[int]:
    if gpu.mig is None:
        raise NVMLError_NotSupported("Not Supported")
    return [int(gpu.mig), int(gpu.mig)]


def mig_instance(gpu: FakeGpu, number: int) -> FakeGpu:
    if number >= len(gpu.instances):
        raise NvmlError("Not Found")
    return gpu.instances[number]


def power_mw(gpu: FakeGpu) -> int:
    if gpu.power_w is None:
        raise NvmlError("not supported")
    return int(gpu.power_w * 1000)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Twin:
    """Put two GPUs in memory in place of `pynvml`."""
    twin = Twin([FakeGpu(0), FakeGpu(1)])
    functions: dict[str, Callable[..., object]] = {
        "Init": lambda: None,
        "Shutdown": lambda: None,
        "DeviceGetCount": lambda: len(twin.gpus),
        "DeviceGetHandleByIndex": twin.by_index,
        "DeviceGetHandleByUUID": twin.by_uuid,
        "DeviceGetMigMode": mig_mode,
        "DeviceGetMaxMigDeviceCount": lambda _: 7,
        "DeviceGetMigDeviceHandleByIndex": mig_instance,
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
        setattr(module, f"nvml{name}", twin.answering(name, function))
    constants = {
        "NVMLError": NvmlError, "NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0,
        "NVML_MEMORY_ERROR_TYPE_UNCORRECTED": 1, "NVML_VOLATILE_ECC": 0,
        "nvmlEventTypeXidCriticalError": 8,
    }  # fmt: skip
    for name, value in constants.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return twin
