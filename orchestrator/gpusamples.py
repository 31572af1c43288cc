"""What NVML tells of the GPUs a server uses, once a sample; without NVML there are no samples."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import psutil

from orchestrator.process import MARKER

MILLI = 1e-3


class GpuSampler:
    """Reads memory, power, clocks, throttling and who else computes on each GPU."""

    def __init__(self, nvml: ModuleType | None, indices: Sequence[int]) -> None:
        self._nvml = nvml
        self._handles = (
            {index: nvml.nvmlDeviceGetHandleByIndex(index) for index in indices} if nvml else {}
        )
        self._faults = self._subscribed()

    @classmethod
    @contextlib.contextmanager
    def open(cls, indices: Sequence[int]) -> Iterator["GpuSampler"]:
        nvml = _start(indices)
        try:
            yield cls(nvml, indices)
        finally:
            if nvml:
                nvml.nvmlShutdown()

    def sample(self) -> Iterator[dict[str, float | int | None]]:
        xids = dict(self._xids())
        for index, handle in self._handles.items():
            yield {"gpu": index, "xid": xids.get(index), **self._read(handle)}

    def _subscribed(self) -> Any:
        """Ask to be told of XID errors; None where the driver or the GPU cannot."""
        nvml = self._nvml
        events = self._try(nvml.nvmlEventSetCreate) if nvml and self._handles else None
        if nvml is None or events is None:
            return None
        for handle in self._handles.values():
            kind = nvml.nvmlEventTypeXidCriticalError
            self._try(nvml.nvmlDeviceRegisterEvents, handle, kind, events)
        return events

    def _xids(self) -> Iterator[tuple[int, int]]:
        """Yield the XID errors since the last sample, by GPU."""
        nvml = self._nvml
        while nvml is not None and self._faults is not None:
            event = self._try(nvml.nvmlEventSetWait_v2, self._faults, 0)
            if event is None:
                return
            yield nvml.nvmlDeviceGetIndex(event.device), int(event.eventData)

    def _read(self, handle: Any) -> dict[str, float | int | None]:
        nvml = self._nvml
        assert nvml is not None
        power_mw = self._try(nvml.nvmlDeviceGetPowerUsage, handle)
        memory = self._try(nvml.nvmlDeviceGetMemoryInfo, handle)
        return {
            "memory_bytes": memory.used if memory else None,
            "power_w": None if power_mw is None else power_mw * MILLI,
            "sm_clock_mhz": self._try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._try(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": self._try(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
            "throttle_reasons": self._try(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle),
            "ecc_uncorrected": self._try(
                nvml.nvmlDeviceGetTotalEccErrors,
                handle,
                nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                nvml.NVML_VOLATILE_ECC,
            ),
            "foreign_processes": self._foreign(handle),
        }

    def _foreign(self, handle: Any) -> int | None:
        """Count processes on the GPU that no server of ours started."""
        nvml = self._nvml
        assert nvml is not None
        found = self._try(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return None if found is None else sum(not _ours(each.pid) for each in found)

    def _try(self, read: Any, *arguments: Any) -> Any:
        assert self._nvml is not None
        try:
            return read(*arguments)
        except self._nvml.NVMLError:
            return None


def _start(indices: Sequence[int]) -> ModuleType | None:
    if not indices:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    module: ModuleType = pynvml
    return module


def _ours(pid: int) -> bool:
    """A process below this one, or one that carries the marker of a server of ours."""
    try:
        process = psutil.Process(pid)
        return MARKER in process.environ() or os.getpid() in {p.pid for p in process.parents()}
    except psutil.NoSuchProcess:
        return True  # it ended meanwhile
    except psutil.Error:
        return False
