"""The accelerators of this host, as NVML tells them."""

import contextlib
import os
from dataclasses import dataclass

from catalog.hardware_table import detect_name


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU that this process may use."""

    index: int
    uuid: str
    name: str
    memory_bytes: int

    @property
    def gpu_type(self) -> str:
        """The catalog's name where it has one, else the vendor's."""
        return detect_name(self.name, self.memory_bytes) or self.name


def devices() -> tuple[Device, ...]:
    """List the GPUs that `CUDA_VISIBLE_DEVICES` lets through; empty without NVML or a driver."""
    with contextlib.suppress(ImportError):
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return ()
        try:
            found = [_device(index) for index in range(pynvml.nvmlDeviceGetCount())]
        finally:
            pynvml.nvmlShutdown()
        return _visible(found)
    return ()


def _device(index: int) -> Device:
    import pynvml as nvml

    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Device(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(found: list[Device]) -> tuple[Device, ...]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return tuple(found)
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return tuple(
        device
        for name in names
        for device in found
        if name == str(device.index) or (name.startswith("GPU-") and device.uuid.startswith(name))
    )
