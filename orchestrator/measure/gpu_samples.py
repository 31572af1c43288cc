"""What NVML tells of the GPUs a server uses, once a sample; without NVML there are no samples."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from orchestrator.host.nvml import Nvml, started
from orchestrator.host.process import MARKER

MILLI = 1e-3


class GpuSampler:
    """Reads memory, power, clocks, throttling and who else computes on each GPU."""

    def __init__(self, nvml: Nvml | None, indices: Sequence[int]) -> None:
        self._nvml = nvml
        handles = {i: nvml.ask("DeviceGetHandleByIndex", i) for i in indices} if nvml else {}
        self._handles = {index: handle for index, handle in handles.items() if handle is not None}
        self._faults = self._subscribed()

    @classmethod
    @contextlib.contextmanager
    def open(cls, indices: Sequence[int]) -> Iterator["GpuSampler"]:
        with started() if indices else contextlib.nullcontext() as nvml:
            yield cls(nvml, indices)

    def sample(self) -> Iterator[dict[str, float | int | None]]:
        xids = dict(self._xids())
        for index, handle in self._handles.items():
            yield {"gpu": index, "xid": xids.get(index), **self._read(handle)}

    def _subscribed(self) -> Any:
        """Ask to be told of XID errors; None where the driver or the GPU cannot."""
        nvml = self._nvml
        events = nvml.ask("EventSetCreate") if nvml and self._handles else None
        if nvml is None or events is None:
            return None
        kind = nvml.constant("nvmlEventTypeXidCriticalError")
        for handle in self._handles.values():
            nvml.ask("DeviceRegisterEvents", handle, kind, events)
        return events

    def _xids(self) -> Iterator[tuple[int, int]]:
        """Yield the XID errors since the last sample, by GPU."""
        nvml = self._nvml
        while nvml is not None and self._faults is not None:
            event = nvml.ask("EventSetWait_v2", self._faults, 0)
            if event is None:
                return
            index = nvml.ask("DeviceGetIndex", event.device)
            if index is not None:
                yield index, int(event.eventData)

    def _read(self, handle: Any) -> dict[str, float | int | None]:
        nvml = self._nvml
        assert nvml is not None
        constant = nvml.constant
        power_mw = nvml.ask("DeviceGetPowerUsage", handle)
        memory = nvml.ask("DeviceGetMemoryInfo", handle)
        return {
            "memory_bytes": memory.used if memory else None,
            "power_w": None if power_mw is None else power_mw * MILLI,
            "sm_clock_mhz": nvml.ask("DeviceGetClockInfo", handle, constant("NVML_CLOCK_SM")),
            "memory_clock_mhz": nvml.ask("DeviceGetClockInfo", handle, constant("NVML_CLOCK_MEM")),
            "temperature_c": nvml.ask(
                "DeviceGetTemperature", handle, constant("NVML_TEMPERATURE_GPU")
            ),
            "throttle_reasons": nvml.ask("DeviceGetCurrentClocksThrottleReasons", handle),
            "ecc_uncorrected": nvml.ask(
                "DeviceGetTotalEccErrors",
                handle,
                constant("NVML_MEMORY_ERROR_TYPE_UNCORRECTED"),
                constant("NVML_VOLATILE_ECC"),
            ),
            "foreign_processes": self._foreign(handle),
        }

    def _foreign(self, handle: Any) -> int | None:
        """Count processes on the GPU that no server of ours started."""
        assert self._nvml is not None
        found = self._nvml.ask("DeviceGetComputeRunningProcesses", handle)
        return None if found is None else sum(not _ours(each.pid) for each in found)


def _ours(pid: int) -> bool:
    """A process below this one, or one that carries the marker of a server of ours."""
    try:
        process = psutil.Process(pid)
        return MARKER in process.environ() or os.getpid() in {p.pid for p in process.parents()}
    except psutil.NoSuchProcess:
        return True  # it ended meanwhile
    except psutil.Error:
        return False
